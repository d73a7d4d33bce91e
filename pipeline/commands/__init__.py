"""Commands of ``pipeline`` with a module of their own, loaded when they are asked for."""
