"""What writes samples: an engine in a process of its own, servers, and a wrapper that restarts either."""
