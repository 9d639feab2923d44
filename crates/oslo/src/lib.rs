//! What OpenStack services speak among themselves: configuration files, RPC over AMQP, request context, versioned objects, log format.
