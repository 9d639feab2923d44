//! The compute manager: what a request means, in order.
