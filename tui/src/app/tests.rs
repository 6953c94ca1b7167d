//! Claims about the state.
