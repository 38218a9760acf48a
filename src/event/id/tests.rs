use std::{collections::HashSet, time::Duration};

use super::*;

const NOW: Duration = Duration::from_millis(0x0123_4567_89ab);

fn text(id: [u8; LENGTH]) -> String {
    String::from_utf8(id.to_vec()).unwrap()
}

#[test]
fn an_id_is_a_version_7_uuid_of_its_millisecond() {
    let id = Uuid::parse_str(&text(new(UNIX_EPOCH + NOW))).unwrap();
    assert_eq!(id.get_version(), Some(uuid::Version::SortRand));
    assert_eq!(id.get_variant(), uuid::Variant::RFC4122);
    assert_eq!(id.get_timestamp().unwrap().to_unix(), (NOW.as_secs(), NOW.subsec_millis() * 1_000_000));
    assert!(text(new(UNIX_EPOCH + NOW)).starts_with("01234567-89ab-7"));
}

#[test]
fn ids_of_one_millisecond_on_several_threads_differ() {
    let many = || (0..20_000).map(|_| new(UNIX_EPOCH + NOW)).collect::<Vec<_>>();
    let threads: Vec<_> = (0..4).map(|_| std::thread::spawn(many)).collect();
    let ids: HashSet<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    assert_eq!(ids.len(), 80_000);
}

#[test]
fn every_random_bit_is_used() {
    let ids = (0..256).map(|_| Uuid::parse_str(&text(new(UNIX_EPOCH + NOW))).unwrap().as_u128());
    let (ones, zeros) = ids.fold((0, 0), |(ones, zeros), id| (ones | id, zeros | !id));
    assert_eq!((ones & zeros).count_ones(), 74);
}

#[test]
fn a_generator_of_another_process_is_seeded_anew() {
    let mut parent = Generator::seeded(1);
    let mut child = Generator::seeded(2);
    assert_ne!((parent.next(), parent.next()), (child.next(), child.next()));
}

#[test]
fn the_generator_is_the_published_one() {
    // The first outputs of the reference implementation for the state 1, 2, 3, 4.
    let mut generator = Generator { generation: 1, state: [1, 2, 3, 4] };
    assert_eq!(generator.next(), 41_943_041);
    assert_eq!(generator.next(), 58_720_359);
    assert_eq!(generator.next(), 3_588_806_011_781_223);
    assert_eq!(generator.next(), 3_591_011_842_654_386);
}
