"""What every test shares."""

import pytest


@pytest.fixture(autouse=True, scope="session")
def _in_an_empty_working_folder(tmp_path_factory):
    """What lies in the reader's own working folder is neither used nor touched."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("working-folder"))
        yield
