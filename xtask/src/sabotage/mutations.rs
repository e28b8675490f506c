//! The list: what we know how to break, and who must notice.

use super::Mutation;

/// In the order of the mail's way: protocol, custody, decisions.
pub const ALL: &[Mutation] = &[];
