"""Emulated devices that speak the real protocols, each in its own process.

They let the drivers be tried, tested and measured without hardware: a Canon EOS M50
over PTP/IP that libgphoto2 takes for a real body, a Thorlabs APT controller on a
pseudo-terminal, and a serial trigger box on a pseudo-terminal or on TCP.

A pass against an emulator shows that our code speaks the protocol. It does not show
that a device obeys: latencies, bandwidth, heat and focus stay unproved.

Run one by ``rig peer m50``, or from code with :class:`~camera_rig.peers.process.PeerProcess`.
"""

from camera_rig.peers.process import PeerProcess

__all__ = ["PeerProcess"]
