use std::process::{Command, Stdio};

use synapse_test_support::eventually;

use super::*;

/// Another test's child may hold our descriptors for the moment between its fork and its exec.
async fn acquired_soon(directory: &Path) {
    eventually("the lock is free", || async { DataLock::acquire(directory).await.ok() }).await;
}

#[tokio::test]
async fn a_second_lock_on_a_directory_is_refused_and_names_its_owner() {
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data/redis");
    let lock = DataLock::acquire(&data).await.unwrap();
    let refused = DataLock::acquire(&data).await.unwrap_err().to_string();
    assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
    assert!(refused.contains("DATA_DIR"), "{refused}");
    drop(lock);
    acquired_soon(&data).await;
}

#[tokio::test]
async fn a_server_that_outlives_its_up_keeps_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let lock = DataLock::acquire(directory.path()).await.unwrap();
    let mut server =
        Command::new("sleep").arg("60").stdin(Stdio::from(lock.share().unwrap())).spawn().unwrap();
    drop(lock);
    let refused = DataLock::acquire(directory.path()).await;
    server.kill().unwrap();
    server.wait().unwrap();
    assert!(matches!(refused, Err(LockError::InUse { .. })), "{refused:?}");
    acquired_soon(directory.path()).await;
}

#[tokio::test]
async fn what_a_killed_up_left_behind_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let lock = DataLock::acquire(directory.path()).await.unwrap();
    // Signed by a process that has ended, held by one that is about to.
    let mut gone = Command::new("true").spawn().unwrap();
    gone.wait().unwrap();
    std::fs::write(directory.path().join(FILE_NAME), gone.id().to_string()).unwrap();
    let mut server =
        Command::new("sleep").arg("0.3").stdin(Stdio::from(lock.share().unwrap())).spawn().unwrap();
    drop(lock);
    DataLock::acquire(directory.path()).await.unwrap();
    assert!(server.try_wait().unwrap().is_some() || server.wait().is_ok());
}

#[tokio::test]
async fn a_directory_that_can_not_be_made_is_named() {
    let refused = DataLock::acquire(Path::new("/proc/synapse/redis")).await.unwrap_err().to_string();
    assert!(refused.contains("/proc/synapse/redis") && refused.contains("DATA_DIR"), "{refused}");
}
