"""The page on which a person labels: HTTP on this machine's loopback alone, and what the browser shows."""
