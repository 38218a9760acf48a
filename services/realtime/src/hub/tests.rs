use super::*;

fn names_in(hub: &Hub<String>, room: &Room) -> Vec<String> {
    let mut names = Vec::new();
    hub.each_in(room, |member| names.push(member.to_string()));
    names.sort();
    names
}

#[test]
fn both_spellings_of_a_users_room_are_one() {
    assert_eq!(Room::named("user_42"), Room::user("42"));
    assert_eq!(Room::named("user:42"), Room::user("42"));
    assert_ne!(Room::named("adventure_42"), Room::user("42"));
    assert_eq!(Room::named("user_"), Err(InvalidRoom(0)));
    assert_eq!(Room::named(&"x".repeat(257)), Err(InvalidRoom(257)));
}

#[test]
fn an_organisation_can_not_pass_for_a_user() {
    assert_ne!(Room::organisation("42"), Room::user("42"));
    assert_eq!(Room::named("organization:42").unwrap(), Room::Named("organization:42".into()));
}

#[test]
fn members_are_seen_where_they_are_and_nowhere_else() {
    let hub = Hub::default();
    let [ada, bob] = ["ada", "bob"].map(|name| Arc::new(name.to_owned()));
    let room = Room::user("1").unwrap();
    hub.enter(&ada);
    hub.enter(&bob);
    hub.join(&room, &ada);
    hub.join(&room, &ada);
    let mut all = Vec::new();
    hub.each(|member| all.push(member.to_string()));
    all.sort();
    assert_eq!(all, ["ada", "bob"]);
    assert_eq!(names_in(&hub, &room), ["ada"]);
    hub.part(&room, &ada);
    assert_eq!(names_in(&hub, &room), Vec::<String>::new());
    assert_eq!(hub.room_count(), 0, "an empty room is kept");
}

#[test]
fn leaving_is_told_once_and_holds_nothing() {
    let hub = Hub::default();
    let member = Arc::new(());
    hub.enter(&member);
    assert!(hub.leave(&member));
    assert!(!hub.leave(&member));
    assert!(hub.is_empty());
    assert_eq!(Arc::strong_count(&member), 1);
}
