//! What both sides agreed to: version, kinds of changes, and which steps are left out.

use super::command::Stage;
use super::session::Rubbish;

/// The newest version we speak, and the oldest.
pub(super) const VERSION_MAX: u32 = 6;
const VERSION_MIN: u32 = 2;

/// Macro lists of one milter, in octets.
const MACRO_LIST_OCTETS_MAX: usize = 4096;

/// Kinds of changes, as bits (`SMFIF_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Actions(pub u32);

impl Actions {
    /// Header fields may be added.
    pub const ADD_HEADER: u32 = 0x01;
    /// The body may be replaced.
    pub const CHANGE_BODY: u32 = 0x02;
    /// Recipients may be added.
    pub const ADD_RECIPIENT: u32 = 0x04;
    /// Recipients may be removed.
    pub const DELETE_RECIPIENT: u32 = 0x08;
    /// Header fields may be changed, removed and inserted.
    pub const CHANGE_HEADER: u32 = 0x10;
    /// The message may be held.
    pub const QUARANTINE: u32 = 0x20;
    /// The reverse-path may be changed.
    pub const CHANGE_SENDER: u32 = 0x40;
    /// Recipients may be added with parameters.
    pub const ADD_RECIPIENT_PARAMETERS: u32 = 0x80;
    /// The milter may say which macros it wants.
    pub const SET_MACROS: u32 = 0x100;
    /// All of them.
    pub const ALL: u32 = 0x1ff;

    /// Whether one of these was agreed.
    pub fn any(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// Steps that are left out, or not answered, as bits (`SMFIP_*`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps(pub u32);

impl Steps {
    pub(super) const NO_CONNECT: u32 = 0x01;
    pub(super) const NO_HELLO: u32 = 0x02;
    pub(super) const NO_MAIL: u32 = 0x04;
    pub(super) const NO_RECIPIENT: u32 = 0x08;
    pub(super) const NO_BODY: u32 = 0x10;
    pub(super) const NO_HEADER: u32 = 0x20;
    pub(super) const NO_END_OF_HEADER: u32 = 0x40;
    pub(super) const QUIET_HEADER: u32 = 0x80;
    pub(super) const NO_UNKNOWN: u32 = 0x100;
    pub(super) const NO_DATA: u32 = 0x200;
    pub(super) const QUIET_CONNECT: u32 = 0x1000;
    pub(super) const QUIET_HELLO: u32 = 0x2000;
    pub(super) const QUIET_MAIL: u32 = 0x4000;
    pub(super) const QUIET_RECIPIENT: u32 = 0x8000;
    pub(super) const QUIET_DATA: u32 = 0x1_0000;
    pub(super) const QUIET_UNKNOWN: u32 = 0x2_0000;
    pub(super) const QUIET_END_OF_HEADER: u32 = 0x4_0000;
    pub(super) const QUIET_BODY: u32 = 0x8_0000;
    pub(super) const LEADING_SPACE: u32 = 0x10_0000;
    /// What we offer: all but replies for refused recipients.
    pub(super) const OFFERED: u32 = 0x1f_f7ff;

    /// Whether one of these was agreed.
    pub fn any(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// What was agreed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// 2 to 6.
    pub version: u32,
    /// Changes the milter may ask for.
    pub actions: Actions,
    /// Steps that are left out or not answered.
    pub steps: Steps,
    /// The macros it wants, by stage; of a stage it does not name the usual ones.
    pub macros: Vec<(Stage, Vec<String>)>,
}

impl Terms {
    /// Our opening word.
    pub(super) fn offer(out: &mut Vec<u8>) {
        for word in [VERSION_MAX, Actions::ALL, Steps::OFFERED] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }

    /// The milter's answer to it.
    pub(super) fn parse(payload: &[u8]) -> Result<Terms, Rubbish> {
        let (Some((version, rest)), true) = (word(payload), payload.len() >= 12) else {
            return Err(Rubbish::Negotiation("it is too short"));
        };
        let (actions, rest) = word(rest).unwrap_or_default();
        let (steps, mut rest) = word(rest).unwrap_or_default();
        if !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(Rubbish::Version(version));
        }
        if actions & !Actions::ALL != 0 {
            return Err(Rubbish::Negotiation("it asks for changes that were not offered"));
        }
        if steps & !Steps::OFFERED != 0 {
            return Err(Rubbish::Negotiation("it asks for steps that were not offered"));
        }
        let mut macros = Vec::new();
        if rest.len() > MACRO_LIST_OCTETS_MAX {
            return Err(Rubbish::Negotiation("its lists of macros are too long"));
        }
        while let Some((number, list)) = word(rest) {
            let Some(end) = list.iter().position(|octet| *octet == 0) else {
                return Err(Rubbish::Negotiation("a list of macros has no end"));
            };
            let names = String::from_utf8_lossy(&list[..end]);
            // A stage of a later version is none of ours.
            if let Some(stage) = Stage::of_number(number) {
                macros.push((stage, names.split([' ', ',']).filter(|name| !name.is_empty()).map(str::to_owned).collect()));
            }
            rest = &list[end + 1..];
        }
        Ok(Terms { version, actions: Actions(actions), steps: Steps(steps), macros })
    }

    /// The macros a command of this stage is sent with.
    pub(super) fn macros_of(&self, stage: Stage) -> Vec<&str> {
        match self.macros.iter().rev().find(|(of, _)| *of == stage) {
            Some((_, names)) => names.iter().map(String::as_str).collect(),
            None => stage.usual_macros().to_vec(),
        }
    }
}

fn word(octets: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = octets.split_first_chunk::<4>()?;
    Some((u32::from_be_bytes(*word), rest))
}
