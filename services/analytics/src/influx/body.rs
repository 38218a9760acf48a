//! Points as they are sent.

use std::{io::Write as _, ops::Range};

use axum::body::Bytes;
use flate2::{Compression, write::GzEncoder};

use crate::{line::encode, sample::Sample, store::Written};

/// Lines that go in one body, and of which sample each is.
#[derive(Debug, Default)]
pub(super) struct Portion {
    text: Vec<u8>,
    /// The place of the sample, and where its line ends.
    lines: Vec<(usize, usize)>,
}

impl Portion {
    /// How many lines it has.
    pub(super) fn len(&self) -> usize {
        self.lines.len()
    }

    /// The places of the samples of these lines.
    pub(super) fn samples(&self, lines: Range<usize>) -> impl Iterator<Item = usize> {
        self.lines[lines].iter().map(|(sample, _)| *sample)
    }

    /// The text of these lines.
    pub(super) fn text(&self, lines: Range<usize>) -> &[u8] {
        let end_of = |line: usize| line.checked_sub(1).map_or(0, |line| self.lines[line].1);
        &self.text[end_of(lines.start)..end_of(lines.end)]
    }
}

/// The lines of samples in portions of up to so many bytes; one line alone may have more. What can't be written is refused.
pub(super) fn portions(
    samples: &[Sample],
    has_user_tag: bool,
    max_bytes: usize,
    written: &mut [Option<Written>],
) -> Vec<Portion> {
    let mut portions = vec![Portion::default()];
    for (place, sample) in samples.iter().enumerate() {
        let mut portion = portions.pop().unwrap_or_default();
        let start = portion.text.len();
        if let Err(error) = encode(sample, has_user_tag, &mut portion.text) {
            written[place] = Some(Written::Refused(error.to_string()));
        } else if portion.text.len() > max_bytes && start > 0 {
            let line = portion.text.split_off(start);
            portions.push(portion);
            portion = Portion { lines: vec![(place, line.len())], text: line };
        } else {
            let end = portion.text.len();
            portion.lines.push((place, end));
        }
        portions.push(portion);
    }
    portions.retain(|portion| portion.len() > 0);
    portions
}

/// Compressed as quickly as it goes: on the way to the server each byte costs more than a better ratio saves.
pub(super) fn compressed(text: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 4), Compression::fast());
    encoder.write_all(text).and_then(|()| encoder.finish()).expect("writing to memory").into()
}
