use std::time::Duration;

use tokio::io::AsyncWriteExt as _;

use super::*;

async fn all(input: &[u8]) -> Result<Vec<(u64, String)>, String> {
    let mut lines = Lines::of(input);
    let mut found = Vec::new();
    while let Some(line) = lines.next().await? {
        found.push(line);
    }
    Ok(found)
}

#[tokio::test]
async fn lines_are_numbered_from_one_and_the_last_needs_no_end() {
    let lines = all(b"a\n\nb\r\nc").await.unwrap();
    let expected = [(1, "a"), (2, ""), (3, "b\r"), (4, "c")];
    assert_eq!(lines, expected.map(|(number, line)| (number, line.to_owned())));
}

#[tokio::test]
async fn a_line_that_is_not_utf8_is_named() {
    let refused = all(b"a\n\xff\xfe\n").await.unwrap_err();
    assert!(refused.starts_with("line 2: invalid utf-8"), "{refused}");
}

#[tokio::test]
async fn a_line_without_an_end_does_not_fill_the_memory() {
    let mut longest = vec![b'x'; MAX_LINE_BYTES];
    longest.push(b'\n');
    assert_eq!(all(&longest).await.unwrap()[0].1.len(), MAX_LINE_BYTES);
    let refused = all(&vec![b'x'; MAX_LINE_BYTES + 1]).await.unwrap_err();
    assert!(refused.starts_with("line 1: longer than"), "{refused}");
}

#[tokio::test]
async fn a_line_that_comes_in_pieces_survives_an_interrupted_read() {
    let (mut writer, reader) = tokio::io::duplex(64);
    let mut lines = Lines::of(BufReader::new(reader));
    writer.write_all(b"first ha").await.unwrap();
    let interrupted = tokio::time::timeout(Duration::from_millis(20), lines.next()).await;
    assert!(interrupted.is_err());
    writer.write_all(b"lf\nsecond\n").await.unwrap();
    assert_eq!(lines.next().await, Ok(Some((1, "first half".to_owned()))));
    assert_eq!(lines.next().await, Ok(Some((2, "second".to_owned()))));
}
