//! How latencies are summed up: a `DDSketch`, from which quantiles are read with a bounded relative error, and which can
//! be added to others of its kind without a loss.

use sketches_ddsketch::{Config, DDSketch};

use crate::store::Quantiles;

/// How far a quantile may be from the exact one, as a share of that.
pub const RELATIVE_ERROR: f64 = 0.01;
/// Latencies in milliseconds below the first count as 0, beyond the second as that. All bins between the two fit in a sketch, so
/// that none is ever joined with another, which would break the bound on the error.
pub const RANGE_MS: (f64, f64) = (1e-6, 1e11);

/// Those that the decoder of the sketch's own form assumes.
const MAX_BINS: u32 = 2048;
const SMALLEST: f64 = 1e-9;
/// The first byte of what is stored: this form, a checksum, the sketch as Datadog's libraries write it.
const FORM: u8 = 1;
const HEAD: usize = 5;

/// Latencies, taken together.
#[derive(Clone)]
pub(super) struct Sketch(DDSketch);

/// Bytes that no sketch was written as.
#[derive(Debug, thiserror::Error)]
pub(super) enum BadSketch {
    #[error("the latencies of a minute are damaged: {0}")]
    Damaged(&'static str),
    #[error("the latencies of a minute have form {0}, which a later version writes")]
    Later(u8),
}

impl Default for Sketch {
    fn default() -> Self {
        Self(DDSketch::new(Config::new(RELATIVE_ERROR, MAX_BINS, SMALLEST)))
    }
}

impl Sketch {
    pub(super) fn add(&mut self, latency_ms: f64) {
        let (smallest, largest) = RANGE_MS;
        let size = if latency_ms.abs() < smallest { 0.0 } else { latency_ms.abs().min(largest) };
        self.0.add(size.copysign(latency_ms));
    }

    /// Adds all that another has.
    pub(super) fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0).expect("sketches have one configuration, as decoding makes sure");
    }

    pub(super) fn quantiles(&self) -> Quantiles {
        let quantile = |share: f64| {
            let last = self.count().checked_sub(1)? as f64;
            // The crate takes the rank below `share` of the last one.
            let rank = nearest_rank(share, last + 1.0);
            self.0.quantile(((rank + 0.5) / last.max(0.5)).min(1.0)).ok().flatten()
        };
        Quantiles { p50: quantile(0.5), p95: quantile(0.95), p99: quantile(0.99) }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.count() as u64
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let sketch = self.0.to_java_bytes();
        let mut bytes = Vec::with_capacity(HEAD + sketch.len());
        bytes.push(FORM);
        bytes.extend(crc32fast::hash(&sketch).to_le_bytes());
        bytes.extend(sketch);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadSketch> {
        let (head, sketch) = bytes.split_first_chunk::<HEAD>().ok_or(BadSketch::Damaged("too short"))?;
        let [form, checksum @ ..] = *head;
        if form != FORM {
            return Err(BadSketch::Later(form));
        }
        if crc32fast::hash(sketch) != u32::from_le_bytes(checksum) {
            return Err(BadSketch::Damaged("its checksum is wrong"));
        }
        let decoded =
            DDSketch::from_java_bytes(sketch).map_err(|_| BadSketch::Damaged("it can't be decoded"))?;
        let mut own = Self::default();
        own.0.merge(&decoded).map_err(|_| BadSketch::Damaged("it has another relative error"))?;
        Ok(own)
    }
}

/// Which of so many values in their order is the quantile, counted from 0; the same one as InfluxDB takes.
fn nearest_rank(share: f64, count: f64) -> f64 {
    (share * count + 0.5).floor().max(1.0) - 1.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[f64]) -> Sketch {
        let mut sketch = Sketch::default();
        for value in values {
            sketch.add(*value);
        }
        sketch
    }

    /// The nearest rank: as many per cent of the values, rounded to whole ones, are no larger.
    fn exact(values: &[f64], share: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let is_rank = |rank: &usize| (*rank as f64 - share * sorted.len() as f64) > 1e-9 - 0.5;
        let rank = (1..=sorted.len()).find(is_rank).unwrap();
        sorted[rank - 1]
    }

    fn is_close(estimate: Option<f64>, exact: f64) -> bool {
        (estimate.unwrap() - exact).abs() <= exact.abs() * RELATIVE_ERROR * (1.0 + 1e-9) + RANGE_MS.0
    }

    /// Of all magnitudes, beyond the range too.
    fn latency() -> impl Strategy<Value = f64> {
        prop_oneof![4 => -3.0..6.0_f64, 1 => -8.0..10.9_f64].prop_map(|power| 10_f64.powf(power))
    }

    proptest! {
        #[test]
        fn quantiles_are_within_the_stated_error_however_the_values_were_split(
            parts in prop::collection::vec(prop::collection::vec(latency(), 1..200), 1..6),
        ) {
            let mut merged = Sketch::default();
            for part in &parts {
                merged.merge(&Sketch::decode(&of(part).encode()).unwrap());
            }
            let all = parts.concat();
            prop_assert_eq!(merged.count(), all.len() as u64);
            let quantiles = merged.quantiles();
            for (estimate, share) in [(quantiles.p50, 0.5), (quantiles.p95, 0.95), (quantiles.p99, 0.99)] {
                prop_assert!(is_close(estimate, exact(&all, share)), "{estimate:?} for {}", exact(&all, share));
            }
        }

        #[test]
        fn bytes_that_are_not_a_sketchs_are_refused(mut bytes in prop::collection::vec(any::<u8>(), 0..60), at in 0_usize..40) {
            prop_assert!(Sketch::decode(&bytes).is_err());
            bytes = of(&[1.0, 20.0]).encode();
            let at = at % bytes.len();
            bytes[at] ^= 0x10;
            prop_assert!(Sketch::decode(&bytes).is_err());
        }
    }

    #[test]
    fn what_lies_beyond_the_range_is_moved_to_its_edge_and_harms_no_other() {
        let mut values = vec![1e300, 1e-300, 0.0, f64::MAX];
        values.extend(std::iter::repeat_n(5.0, 100));
        let quantiles = of(&values).quantiles();
        assert!(is_close(quantiles.p50, 5.0) && is_close(quantiles.p95, 5.0), "{quantiles:?}");
        assert!(is_close(of(&[1e300]).quantiles().p50, RANGE_MS.1));
        assert!(is_close(of(&[-7.0; 3]).quantiles().p99, -7.0));
        let whole: Vec<f64> = (-7..12).map(|power| 10_f64.powi(power).min(1e11)).collect();
        assert!(is_close(of(&whole).quantiles().p50, exact(&whole, 0.5)), "no bins were joined");
    }

    #[test]
    fn of_two_the_larger_is_nearly_all() {
        let quantiles = of(&[1.0, 1_000.0]).quantiles();
        assert!(is_close(quantiles.p50, 1.0) && is_close(quantiles.p95, 1_000.0), "{quantiles:?}");
        assert!(is_close(of(&[3.0]).quantiles().p99, 3.0));
        assert_eq!(Sketch::default().quantiles(), Quantiles::default());
    }

    /// Red if the crate's form changes: then this version's decoder has to be kept.
    #[test]
    fn what_a_file_has_is_still_read() {
        assert_eq!(of(&[0.0, 1.5, 1.5, 250.0]).encode(), FIRST_FORM);
        let quantiles = Sketch::decode(FIRST_FORM).unwrap().quantiles();
        assert!(is_close(quantiles.p50, 1.5) && is_close(quantiles.p99, 250.0), "{quantiles:?}");
    }

    const FIRST_FORM: &[u8] = &[
        1, 244, 13, 19, 118, 160, 132, 64, 136, 0, 0, 0, 0, 0, 0, 0, 0, 140, 0, 0, 0, 0, 0, 64, 111, 64, 132,
        0, 0, 0, 0, 0, 160, 111, 64, 2, 253, 74, 129, 90, 191, 82, 240, 63, 0, 0, 0, 0, 0, 0, 0, 0, 4, 2, 5,
        2, 40, 3, 128, 4, 2,
    ];
}
