//! Values as text: the frozen forms of CSV and JSON Lines, and the way back.
