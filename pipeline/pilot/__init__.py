"""Does it beat random on one's own data: a small comparison on the labelled part of it, and one page about it."""
