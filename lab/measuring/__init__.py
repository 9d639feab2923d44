"""Measures a compute service from outside: requests from the API servers' logs, messages from the broker's firehose, CPU and memory from /proc."""
