//! A process that is killed while it writes.

use std::{
    env,
    io::{BufRead as _, BufReader, Write as _},
    path::PathBuf,
    process::{Command, Stdio},
};

use synapse_analytics::{
    embedded::{Embedded, FILE_NAME},
    sample::Inference,
};
use tempfile::TempDir;

use crate::{
    exact::{agree, grouped, summary},
    support::{BASE, MINUTE, SECOND, SETTINGS, inference, runtime, samples, window},
};

const DIRECTORY: &str = "SYNAPSE_TEST_DIRECTORY";
const FIRST: &str = "SYNAPSE_TEST_FIRST";
const BATCH: usize = 500;
const KILLS: usize = 8;

/// The same for the same number; some hundred in a minute.
fn sample(number: usize) -> Inference {
    let n = i64::try_from(number).unwrap();
    Inference {
        model_name: format!("m{}", n % 3),
        latency_ms: 1.0 + (n * 7919 % 10_007) as f64 / 10.0,
        tokens_used: Some((n % 50).cast_unsigned()),
        success: n % 11 != 0,
        ..inference(BASE + n * 100_000_000)
    }
}

/// Not a test: what the test starts. It writes without end, and says after each batch up to where.
#[test]
#[ignore = "is started by another test, and killed"]
fn writes_until_it_is_killed() {
    let directory = PathBuf::from(env::var_os(DIRECTORY).unwrap());
    let mut next: usize = env::var(FIRST).unwrap().parse().unwrap();
    runtime().block_on(async {
        let (store, writer) = Embedded::open(&directory.join(FILE_NAME), SETTINGS).await.unwrap();
        tokio::spawn(writer.run());
        loop {
            // Half of each batch was in the one before.
            let batch: Vec<_> = (next.saturating_sub(BATCH / 2)..next + BATCH).map(sample).collect();
            store.write(&samples(&batch)).await.unwrap();
            next += BATCH;
            writeln!(std::io::stdout(), "\nwritten {next}").unwrap();
        }
    });
}

/// Starts a process that writes from a sample on, kills it some batches later, and gives up to where it said it had written.
fn write_and_kill(directory: &std::path::Path, first: usize, batches: usize) -> usize {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--exact", "crash::writes_until_it_is_killed", "--ignored", "--nocapture", "--test-threads=1"])
        .env(DIRECTORY, directory)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut written = 0_usize;
    let mut said = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        if let Some(number) = line.unwrap().strip_prefix("written ") {
            written = number.parse().unwrap();
            said += 1;
            if said == batches {
                // It goes on meanwhile; where it is then is by chance.
                child.kill().unwrap();
            }
        }
    }
    child.wait().unwrap();
    assert!(said >= batches, "it ended by itself");
    written
}

#[test]
fn a_process_killed_at_any_moment_leaves_sums_that_are_those_of_its_rows() {
    let folder = TempDir::new().unwrap();
    let mut written = 0_usize;
    for kill in 0..KILLS {
        // Some of what is there already comes once more.
        let first = written.saturating_sub(kill * 300);
        written = written.max(write_and_kill(folder.path(), first, 1 + kill * 3 % 7));
        runtime().block_on(check(folder.path(), written));
    }
}

async fn check(directory: &std::path::Path, written: usize) {
    let (store, writer) = Embedded::open(&directory.join(FILE_NAME), SETTINGS).await.unwrap();
    let writer = tokio::spawn(writer.run());
    let end = BASE + 1_000_000 * MINUTE;
    let told = store.models(window(BASE, end)).await.unwrap().rows;
    let count: u64 = told.iter().map(|row| row.summary.count).sum();
    // A batch may be there that was not answered any more.
    let count = usize::try_from(count).unwrap();
    assert!(count >= written, "{count} of {written}");
    let all: Vec<_> = (0..count).map(sample).collect();
    let exact = grouped(&all, |sample| Some(sample.model_name.clone()));
    for told in told {
        let exact = summary(&exact[&told.model_name], (end - BASE) as f64 / SECOND as f64);
        assert!(agree(&told.summary, &exact), "{told:?}\n{exact:?}");
    }
    // Once more from rows alone: a step that is no whole minute.
    for model in ["m0", "m1", "m2"] {
        let step = std::time::Duration::from_hours(1_000_000) + std::time::Duration::from_secs(1);
        let told = store.model_series(model, window(BASE, end), step).await.unwrap().rows;
        let rows: u64 = told.iter().map(|row| row.summary.count).sum();
        assert_eq!(rows, exact[model].len() as u64);
    }
    drop(store);
    writer.await.unwrap();
}
