"""For security teams: alerts and what they rest on, every face gone before its picture leaves the server."""
