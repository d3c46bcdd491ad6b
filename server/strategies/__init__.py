"""How the global model moves, given the sites' updates: pure functions with state, one module a family."""

from fedescc.server.strategies.state import ServerState, Weights

__all__ = ["ServerState", "Weights"]
