//! What is to be stored.

use jiff::ZonedDateTime;
use synapse_chassis::{
    console::moment,
    settings::{Environment, SettingError, Variable},
};
use synapse_rs::EntryId;

use super::next_of;
use crate::{consume::STREAMS, settings::ABOUT};

synapse_chassis::variables! {
    /// What a backfill can be told.
    pub FLAGS:
    /// Where it begins: an entry id, a time with its offset, a date for its midnight UTC, a span before now (`2h`), or `today`.
    FROM: Text = "0";
    /// Where it ends, likewise; what is appended after the beginning is not stored. Unset: with the last entry there is.
    TO: Text;
    /// The streams that are read.
    STREAM: List = "inference-events,training-events";
}

/// Which part of which streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The streams.
    pub streams: Vec<String>,
    /// The first entry, if it is there.
    pub from: EntryId,
    /// The last entry, if it is there.
    pub to: EntryId,
}

impl Request {
    /// Reads and checks the flags.
    pub fn read(flags: &Environment) -> Result<Self, SettingError> {
        let now = ZonedDateTime::now();
        let bad = |variable: &Variable, error: moment::InvalidMoment| {
            SettingError::Conflict(format!("{}: {error}", variable.flag()))
        };
        let from = flags.text(&FROM)?.unwrap_or_default();
        let to = flags.text(&TO)?;
        let request = Self {
            streams: flags.list(&STREAM)?.into_iter().map(str::to_owned).collect(),
            from: moment::first_at(from, &now).map_err(|error| bad(&FROM, error))?,
            to: match to {
                Some(to) => moment::last_at(to, &now).map_err(|error| bad(&TO, error))?,
                None => EntryId::MAX,
            },
        };
        if request.streams.is_empty() || request.streams.iter().any(|name| !STREAMS.contains(&name.as_str()))
        {
            return Err(flags.refused(&STREAM, &format!("{}, or one of them", STREAMS.join(","))));
        }
        if request.from > request.to {
            let message = format!("--from {} is behind --to {}", request.from, request.to);
            return Err(SettingError::Conflict(message));
        }
        Ok(request)
    }

    /// What to type to store the rest: of the first of these streams from behind `position` on, of the others all of it.
    pub(super) fn going_on(&self, left: &[String], position: Option<EntryId>, to: EntryId) -> String {
        let begin = |streams: &[String], from: EntryId, to: EntryId| {
            let streams = streams.join(",");
            let mut words = format!("{} {} --from {from}", ABOUT.name, super::BACKFILL);
            if to != EntryId::MAX {
                words = format!("{words} --to {to}");
            }
            format!("{words} --stream {streams}")
        };
        let (first, others) = left.split_at(1.min(left.len()));
        let rest = begin(first, next_of(position, self.from), to);
        if others.is_empty() { rest } else { format!("{rest} && {}", begin(others, self.from, self.to)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(flags: &[(&str, &str)]) -> Result<Request, SettingError> {
        Request::read(&Environment::from_map(flags.iter().copied()))
    }

    #[test]
    fn without_flags_it_is_all_of_both_streams() {
        let request = read(&[]).unwrap();
        assert_eq!((request.from, request.to), (EntryId::MIN, EntryId::MAX));
        assert_eq!(request.streams, STREAMS);
    }

    #[test]
    fn what_can_not_be_stored_is_refused_by_its_flag() {
        for (flags, named) in [
            (&[("FROM", "soon")][..], "--from"),
            (&[("TO", "soon")], "--to"),
            (&[("FROM", "5-0"), ("TO", "4-0")], "--from 5-0"),
            (&[("STREAM", "model-events")], "STREAM"),
        ] {
            let error = read(flags).unwrap_err().to_string();
            assert!(error.contains(named), "{error}");
        }
    }

    #[test]
    fn going_on_begins_behind_what_is_done() {
        let request = read(&[("FROM", "3-0")]).unwrap();
        assert_eq!(
            request.going_on(&request.streams, Some(EntryId::new(5, 1)), EntryId::new(9, 0)),
            "synapse-analytics backfill --from 5-2 --to 9-0 --stream inference-events \
             && synapse-analytics backfill --from 3-0 --stream training-events"
        );
    }
}
