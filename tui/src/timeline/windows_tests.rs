//! Claims about windows.
