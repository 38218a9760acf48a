//! What is done to a spool.

use super::*;

#[derive(Clone, Debug)]
pub(super) enum Step {
    Append(Vec<usize>),
    Read(usize),
    Skip(u64),
    Rewind,
    /// How much of what was read is settled, in per cent, and the size of the note.
    Settle(u64, usize),
    Sync,
    Reopen,
    /// The process ends while it appends; so much of the batch is written, in per mille.
    Kill(Vec<usize>, u64),
    PowerFailure(Vec<Damage>),
    /// The disk fails once within it.
    Failing(Fault, Box<Step>),
}

/// What a power failure does to one file that was not synced.
#[derive(Clone, Copy, Debug)]
pub(super) enum Damage {
    None,
    /// What was written behind a place, in per mille of what may go, is gone.
    Cut(u64),
    /// It is there, but as zeros.
    Zeroed(u64),
    /// Only this part of it is zeros.
    Hole(u64, u64),
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    vec(prop_oneof![4 => 0..300_usize, 1 => 0..1_000_usize], 0..8)
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        Just(Damage::None),
        (0..1_000_u64).prop_map(Damage::Cut),
        (0..1_000_u64).prop_map(Damage::Zeroed),
        (0..1_000_u64, 0..1_000_u64).prop_map(|(from, to)| Damage::Hole(from, to)),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    use Operation::{Cut, Make, Open, Read, Remove, Rename, Sync, Write};
    let operation = prop::sample::select(vec![Cut, Make, Open, Read, Remove, Rename, Sync, Write]);
    (operation, 0..4_u32, 1..4_u32, 0..1_000_usize).prop_map(|(operation, after, times, bytes)| Fault {
        operation,
        after,
        times,
        bytes,
    })
}

fn failing() -> impl Strategy<Value = Step> {
    let step = prop_oneof![
        sizes().prop_map(Step::Append),
        (0..=100_u64, 0..NOTE_BYTES).prop_map(|(part, note)| Step::Settle(part, note)),
        Just(Step::Sync),
        Just(Step::Reopen),
        Just(Step::Read(1_000)),
    ];
    (fault(), step).prop_map(|(fault, step)| Step::Failing(fault, Box::new(step)))
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => failing(),
        6 => sizes().prop_map(Step::Append),
        4 => (0..4_000_usize).prop_map(Step::Read),
        1 => (0..10_u64).prop_map(Step::Skip),
        1 => Just(Step::Rewind),
        4 => (0..=100_u64, prop_oneof![0..20_usize, 0..NOTE_BYTES]).prop_map(|(part, note)| Step::Settle(part, note)),
        2 => Just(Step::Sync),
        1 => Just(Step::Reopen),
        1 => (sizes(), 0..=1_000_u64).prop_map(|(sizes, part)| Step::Kill(sizes, part)),
        1 => vec(damage(), 8).prop_map(Step::PowerFailure),
    ]
}

impl Damage {
    /// Does it to what lies between two places of a file.
    pub(super) fn strike(self, path: &Path, from: u64, to: u64) {
        let at = |part: u64| from + (to - from) * part / 1_000;
        let zero = |from: u64, to: u64| {
            let file = OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&vec![0; usize::try_from(to.saturating_sub(from)).unwrap()], from).unwrap();
        };
        match self {
            Self::None => {}
            Self::Cut(part) => cut(path, at(part)),
            Self::Zeroed(part) => zero(at(part), to),
            Self::Hole(part, end) => zero(at(part.min(end)), at(part.max(end))),
        }
    }
}
