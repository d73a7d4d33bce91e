"""Hand-offs to labelling tools: questions in each tool's own files, and its answers as rows of one kind."""
