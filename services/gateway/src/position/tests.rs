use proptest::prelude::*;

use super::*;

fn position() -> impl Strategy<Value = Position> {
    prop::array::uniform7((any::<u64>(), any::<u64>()))
        .prop_map(|ids| Position { ids: ids.map(|(ms, seq)| EntryId::new(ms, seq)) })
}

#[test]
fn the_token_of_an_ordinary_position_is_short() {
    let ids = [EntryId::new(1_795_424_694_440, 3); COUNT];
    assert!(Position { ids }.token().len() <= 70);
}

#[test]
fn the_longest_token_is_within_the_bound() {
    let position = Position { ids: [EntryId::MAX; COUNT] };
    assert!(position.token().len() <= MAX_TOKEN);
    assert_eq!(Position::parse(&position.token()), Ok(position));
}

#[test]
fn an_entry_id_is_told_from_a_position() {
    assert_eq!(After::parse("1795424694440-0"), Ok(After::Entry(EntryId::new(1_795_424_694_440, 0))));
    assert_eq!(After::parse("0-0"), Ok(After::Entry(EntryId::MIN)));
    assert_eq!(After::parse("0"), Ok(After::Entry(EntryId::MIN)));
    assert_eq!(After::parse("99999999999999999999-0"), Err(InvalidPosition::NotOurs));
    let token = Position::default().token();
    assert_eq!(After::parse(&token), Ok(After::Position(Position::default())));
}

#[test]
fn what_is_not_exactly_a_token_is_refused() {
    let token = Position { ids: [EntryId::new(300, 1); COUNT] }.token();
    let mut longer = URL_SAFE_NO_PAD.decode(&token).unwrap();
    longer.push(0);
    let mut padded = vec![VERSION, 0x80, 0x00];
    padded.extend([0; COUNT * 2 - 1]);
    let mut overflow = vec![VERSION];
    overflow.extend([0xFF; 9]);
    overflow.extend([0x02]);
    overflow.extend([0; COUNT * 2 - 1]);
    let mut other_version = URL_SAFE_NO_PAD.decode(&token).unwrap();
    other_version[0] = 2;
    for bytes in [longer, padded, overflow, other_version] {
        assert_eq!(Position::parse(&URL_SAFE_NO_PAD.encode(bytes)), Err(InvalidPosition::NotOurs));
    }
    for text in ["", "$", "abc", "1-2-3", "-5", &token[1..], &format!("{token}=")] {
        assert!(After::parse(text).is_err(), "{text:?}");
    }
    assert_eq!(After::parse(&"A".repeat(MAX_TOKEN + 1)), Err(InvalidPosition::TooLong));
}

proptest! {
    #[test]
    fn a_position_comes_back_from_its_token(position in position()) {
        prop_assert_eq!(After::parse(&position.token()), Ok(After::Position(position)));
    }

    #[test]
    fn any_text_is_a_token_in_one_way_or_not_at_all(text in "[A-Za-z0-9_=-]{0,60}") {
        if let Ok(position) = Position::parse(&text) {
            prop_assert_eq!(position.token(), text);
        }
    }
}
