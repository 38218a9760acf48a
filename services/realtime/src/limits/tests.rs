use super::*;

#[test]
fn a_second_lets_its_number_pass_and_no_more() {
    let start = Instant::now();
    let mut limit = RateLimit::new(10, start);
    assert_eq!((0..30).filter(|_| limit.allow(start)).count(), 10);
    let half = start + Duration::from_millis(500);
    assert_eq!((0..30).filter(|_| limit.allow(half)).count(), 5);
    let later = start + Duration::from_mins(1);
    assert_eq!((0..30).filter(|_| limit.allow(later)).count(), 10);
}

#[test]
fn zero_is_no_limit() {
    let now = Instant::now();
    let mut limit = RateLimit::new(0, now);
    assert!((0..10_000).all(|_| limit.allow(now)));
}

#[test]
fn a_place_is_given_back_when_its_connection_ends() {
    let limit = AddressLimit::default();
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let first = limit.acquire(address, 1).expect("the first place");
    assert!(limit.acquire(address, 1).is_none());
    assert!(limit.acquire("192.0.2.2".parse().unwrap(), 1).is_some());
    drop(first);
    assert!(limit.acquire(address, 1).is_some());
    assert!(limit.counts.lock().is_empty(), "addresses without connections are kept");
}
