//! The real program, as a person at a terminal meets it: started, asked, reloaded, stopped, killed.

mod abuse;
mod backup;
mod certificates;
mod checking;
mod chunks;
mod control;
mod custody;
mod egress;
mod guessing;
mod hand;
mod harness;
mod hop;
mod hops;
mod hostile;
mod local;
mod metrics;
mod milter;
mod octets;
mod reload;
mod secured;
mod sendmail;
mod start;
mod systemd;
mod tls;
mod trust;
mod wishes;
