"""Paired takes: nothing lost, nothing leaked.

===================================  =============================================
:mod:`~camera_rig.recording.store`    the data folder: takes, consents, keys, log
:mod:`~camera_rig.recording.recorder` both cameras free-run, takes are cut out
:mod:`~camera_rig.recording.plan`     settings of a take, estimate of its bytes
:mod:`~camera_rig.recording.reading`  a take on disk, its pairs once keys are open
:mod:`~camera_rig.recording.recovery` make a take whole after a crash, verify it
:mod:`~camera_rig.recording.playback` a take as cameras
:mod:`~camera_rig.recording.prepare`  takes to face crops for training
:mod:`~camera_rig.recording.prepared` read such a set, from disk or any URL
:mod:`~camera_rig.recording.export`   a set in the clear, within the consent
:mod:`~camera_rig.recording.consent`  who agreed to what
:mod:`~camera_rig.recording.vault`    encryption of frames
:mod:`~camera_rig.recording.clockmodel` from one camera's time to the other's
===================================  =============================================

Nothing is imported here, so that a command that only lists takes loads no codec.
"""
