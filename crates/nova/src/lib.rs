//! The control plane port over a stock Nova.
