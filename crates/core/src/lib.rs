//! Decisions: pure functions and pure machines.
//!
//! **Promises.** The same arguments give the same decision: time comes as `now`, chance as a number, policy as a value. Nothing here waits,
//! reads, writes, logs or spawns, and no decision calls another; `flow` composes them. The machines, [`schedule::Schedule`],
//! [`shape::Shape`] and [`quota::Quota`], hold bounded memory and pay at most the logarithm of what they hold.
//!
//! **Never** makes a delivery permanent by default: what bounces is named, one by one, in [`classify`].
//!
//! | module | question |
//! |---|---|
//! | [`admit`] | may this client say this, here? |
//! | [`lockout`] | may this client try another password? |
//! | [`local`] | who has the mail of a name in a domain of ours? |
//! | [`route::table`] | which rule says where this mail goes? |
//! | [`route`] | which hosts, in which order, and which addresses? |
//! | [`outage`] | may this Source be used, now? |
//! | [`prepare`] | what is done to a client's message on its way out? |
//! | [`prove`] | by which mechanism do we prove ourselves to a smart host? |
//! | [`quota`] | may a smart host be given more, now? |
//! | [`schedule`] | whose mail goes next at this Site? |
//! | [`shape`] | may a connection be opened, a message be sent, now? |
//! | [`suspend`] | has a person suspended it, and until when? |
//! | [`classify`] | what does this reply, or this trouble, make of the delivery? |
//! | [`retry`] | when is it tried again, and when do we give up? |
//! | [`returns`] | who must be told? |
//! | [`dmarc`] | is a message from whom it says, and what does that domain ask for? |
//! | [`verdict`] | what becomes of a stranger's mail, and what is told of it? |
//! | [`explain`] | why does this delivery wait? |
//! | [`preflight`] | which rule of a mailbox provider would this message break? |
//! | [`publish`] | what does a domain have to publish, and what does it publish instead? |

#![forbid(unsafe_code)]

pub mod admit;
pub mod allowance;
pub mod archive;
pub mod brake;
pub mod classify;
pub mod dmarc;
pub mod explain;
pub mod header_rules;
pub mod local;
pub mod lockout;
pub mod outage;
pub mod ownership;
pub mod plan;
pub mod preflight;
pub mod prepare;
pub mod prove;
pub mod publish;
pub mod quota;
pub mod retry;
pub mod returns;
pub mod rewrite;
pub mod route;
pub mod schedule;
pub mod shape;
pub mod suspend;
pub mod times;
pub mod verdict;

#[cfg(test)]
mod providers_tests;
