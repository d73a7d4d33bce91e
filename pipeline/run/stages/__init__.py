"""The stages of a cycle: each reads immutable inputs and writes one immutable directory."""
