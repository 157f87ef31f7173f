"""How several publications become one raw presence document (presence-data.md J).

Policies, which implement :class:`presence.interfaces.ICompositionPolicy`:
:mod:`~presence.compose.oma` is the one of OMA, the others are alternatives (COM-44).
"""
