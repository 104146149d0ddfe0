"""A chain stand-in that speaks the real protocol: real runtime metadata, signatures, extrinsics and errors.

For tests and for a subnet on one machine. `DevnetChain` holds the state, `serve_chain` puts it on a socket.
"""

from __future__ import annotations

from loosh_pipeline.devnet.chain.administration import DevnetChain
from loosh_pipeline.devnet.chain.faults import ChainFault
from loosh_pipeline.devnet.chain.genesis import ChainConfig
from loosh_pipeline.devnet.chain.registration import NeuronSpec
from loosh_pipeline.devnet.chain.server import serve_chain

__all__ = ["ChainConfig", "ChainFault", "DevnetChain", "NeuronSpec", "serve_chain"]
