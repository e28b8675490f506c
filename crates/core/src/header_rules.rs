//! What header rules make of a header (Postfix's `header_checks`).
//!
//! **Promises.** Each field is looked at once, by the rules in their order; the first whose name and pattern match it decides, and a field that a rule put in is
//! not looked at again: one pass, no loop. What a rule refuses ends the pass. The pattern is of linear time whatever the field, and sees at most
//! `words::VALUE_OCTETS_MAX` octets of it.
//!
//! **Never** touches the header itself; it says what is to be done.

use postrider_mail::words;
use postrider_model::StreamName;
use postrider_model::policy::{HeaderAction, HeaderRule};

/// What is to be done, in this order, to a header whose fields have numbers from 0 on.
#[derive(Debug, Clone, Default)]
pub struct Plan<'a> {
    /// Field by field: what happens to it.
    pub edits: Vec<(usize, Edit<'a>)>,
    /// Fields that are put behind the last one.
    pub added: Vec<(&'a str, &'a str)>,
    /// Refused, by which rule and with which words.
    pub rejected: Option<(&'a HeaderRule, &'a str)>,
    /// Thrown away, by which rule.
    pub discarded: Option<&'a HeaderRule>,
    /// Held, by which rule and why.
    pub held: Option<(&'a HeaderRule, &'a str)>,
    /// Rules that want a line in the log, with the number of the field.
    pub warned: Vec<(&'a HeaderRule, usize)>,
}

/// What happens to one field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edit<'a> {
    /// It goes.
    Remove,
    /// Another field, name and value, stands in its place.
    Replace(&'a str, &'a str),
    /// Another field stands before it.
    Prepend(&'a str, &'a str),
}

/// Looks at a header: name and value of each field.
pub fn judge<'a, 'f>(
    rules: &'a [HeaderRule],
    listener: &str,
    stream: &StreamName,
    fields: impl Iterator<Item = (&'f [u8], &'f [u8])>,
) -> Plan<'a> {
    let mut plan = Plan::default();
    let rules: Vec<&HeaderRule> = rules.iter().filter(|rule| rule.scope.covers(listener, stream)).collect();
    if rules.is_empty() {
        return plan;
    }
    for (number, (name, value)) in fields.enumerate() {
        let (mut plain, mut decoded) = (None, None);
        let hit = rules.iter().find(|rule| {
            let named = rule.field.as_ref().is_none_or(|field| name.eq_ignore_ascii_case(field.as_bytes()));
            named && {
                let text = if rule.decoded {
                    decoded.get_or_insert_with(|| words::decoded(value))
                } else {
                    plain.get_or_insert_with(|| words::unfolded(value))
                };
                rule.pattern.matches(text)
            }
        });
        let Some(rule) = hit else { continue };
        match &rule.action {
            HeaderAction::Reject(text) => {
                plan.rejected = Some((rule, text));
                return plan;
            }
            HeaderAction::Discard => plan.discarded = plan.discarded.or(Some(rule)),
            HeaderAction::Hold(why) => plan.held = plan.held.or(Some((rule, why))),
            HeaderAction::Warn => plan.warned.push((rule, number)),
            HeaderAction::Remove => plan.edits.push((number, Edit::Remove)),
            HeaderAction::Replace(name, value) => plan.edits.push((number, Edit::Replace(name, value))),
            HeaderAction::Prepend(name, value) => plan.edits.push((number, Edit::Prepend(name, value))),
            HeaderAction::Add(name, value) => {
                let field = (&**name, &**value);
                if !plan.added.contains(&field) {
                    plan.added.push(field);
                }
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use postrider_model::policy::{Pattern, Scope};

    fn rule(name: &str, field: Option<&str>, pattern: &str, action: HeaderAction) -> HeaderRule {
        let pattern = Pattern::parse(pattern).unwrap();
        HeaderRule { name: name.into(), scope: Scope::default(), field: field.map(Into::into), pattern, decoded: true, action }
    }

    fn check(rules: &[HeaderRule], fields: &[(&str, &str)]) -> String {
        let fields = fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let plan = judge(rules, "in", &StreamName::new("s"), fields);
        let mut said: Vec<String> = plan.edits.iter().map(|(at, edit)| format!("{at} {edit:?}")).collect();
        said.extend(plan.added.iter().map(|(name, value)| format!("add {name}: {value}")));
        said.extend(plan.rejected.map(|(rule, text)| format!("{} rejects: {text}", rule.name)));
        said.extend(plan.discarded.map(|rule| format!("{} discards", rule.name)));
        said.extend(plan.held.map(|(rule, why)| format!("{} holds: {why}", rule.name)));
        said.extend(plan.warned.iter().map(|(rule, at)| format!("{} warns of {at}", rule.name)));
        said.join("; ")
    }

    #[test]
    fn the_first_rule_that_matches_a_field_decides() {
        let field = |name: &str, value: &str| (name.into(), value.into());
        let (name, value) = field("X-Spam", "yes");
        let add = HeaderAction::Add(name, value);
        let (name, value) = field("X-Old", "gone");
        let rules = [
            rule("exe", Some("Subject"), r"\.exe\b", HeaderAction::Reject("no programs".into())),
            rule("win", Some("subject"), "you won", HeaderAction::Hold("looks like a lottery".into())),
            rule("any-win", None, "you won", HeaderAction::Warn),
            rule("mailer", Some("X-Mailer"), "", HeaderAction::Remove),
            rule("old", Some("X-Was"), "^a", HeaderAction::Replace(name, value)),
            rule("casino", Some("Subject"), "casino", add),
        ];
        for (fields, said) in [
            (&[("Subject", " hello"), ("To", "x")][..], ""),
            (&[("Subject", " setup.exe"), ("X-Mailer", "y")], "exe rejects: no programs"),
            (&[("X-Mailer", "y"), ("SUBJECT", "YOU WON")], "0 Remove; win holds: looks like a lottery"),
            (&[("X-Note", "You won"), ("Subject", "=?utf-8?q?you_w=6Fn?=")], "win holds: looks like a lottery; any-win warns of 0"),
            (&[("X-Was", "abc"), ("X-Was", "b")], "0 Replace(\"X-Old\", \"gone\")"),
            (&[("Subject", "casino"), ("Subject", "casino")], "add X-Spam: yes"),
            (&[("Subject", "you\r\n\twon"), ("Subject", "x")], "win holds: looks like a lottery"),
        ] {
            assert_eq!(check(&rules, fields), said, "{fields:?}");
        }
    }

    #[test]
    fn a_rule_for_other_mail_is_not_asked_and_one_that_does_not_decode_sees_the_words() {
        let mut elsewhere = rule("x", None, "a", HeaderAction::Warn);
        elsewhere.scope.listeners.push("out".into());
        assert_eq!(check(&[elsewhere], &[("A", "a")]), "");
        let mut raw = rule("raw", None, r"^=\?", HeaderAction::Warn);
        assert_eq!(check(&[raw.clone()], &[("A", "=?utf-8?q?b?=")]), "");
        raw.decoded = false;
        assert_eq!(check(&[raw], &[("A", "=?utf-8?q?b?=")]), "raw warns of 0");
    }
}
