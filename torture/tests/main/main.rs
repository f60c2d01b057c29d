//! Faults against the engine; small by default, `ASOF_SEEDS` makes them longer.

mod faults;
mod model;
mod power;
mod real;
mod rot;
