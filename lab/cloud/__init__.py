"""What the lab's tools share: the cloud's APIs, its databases, and what can be seen of a server or a node."""
