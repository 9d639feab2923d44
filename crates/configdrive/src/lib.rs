//! Instance metadata and the config drive image.
