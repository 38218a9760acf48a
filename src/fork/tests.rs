use super::generation;

#[test]
fn the_generation_stays_the_same_within_a_process() {
    let first = generation();
    assert_ne!(first, 0);
    assert_eq!(std::thread::spawn(generation).join().unwrap(), first);
    assert_eq!(generation(), first);
}
