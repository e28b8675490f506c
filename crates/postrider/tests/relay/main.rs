//! The real program, as a person at a terminal meets it: started, asked, reloaded, stopped, killed.

mod control;
mod custody;
mod harness;
mod reload;
mod start;
