"""A chain stand-in that speaks the real protocol: real runtime metadata, signatures, extrinsics and errors.

For tests and for a subnet on one machine. `DevnetChain` holds the state, `serve_chain` puts it on a socket.
"""

from __future__ import annotations

from loosh_pipeline.devnet.chain.genesis import ChainConfig, NeuronSpec
from loosh_pipeline.devnet.chain.node import DevnetChain
from loosh_pipeline.devnet.chain.server import serve_chain

__all__ = ["ChainConfig", "DevnetChain", "NeuronSpec", "serve_chain"]
