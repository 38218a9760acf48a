use super::*;

const PLAIN: Terminal = Terminal { colors: false, width: None };

fn line(pieces: &[(Style, &str)]) -> Line {
    let mut line = Line::default();
    for (style, text) in pieces {
        line.push(*style, text);
    }
    line
}

#[test]
fn a_line_that_fits_is_not_cut_and_one_too_wide_ends_in_an_ellipsis() {
    let line = line(&[(Style::Plain, "0123456789"), (Style::Plain, "abcdefghij")]);
    let at = |width| line.render(Terminal { colors: false, width: Some(width) });
    assert_eq!(at(20), "0123456789abcdefghij");
    assert_eq!(at(19), "0123456789abcdefgh…");
    assert_eq!(at(5), "0123…");
    assert_eq!(line.render(PLAIN), "0123456789abcdefghij");
}

#[test]
fn wide_characters_count_as_the_columns_they_take() {
    let line = line(&[(Style::Plain, "分類器分類器")]);
    for columns in 2..12 {
        let shown = line.render(Terminal { colors: false, width: Some(columns) });
        assert!(width(&shown) <= columns, "{shown:?} in {columns} columns");
    }
    assert_eq!(line.render(Terminal { colors: false, width: Some(12) }), "分類器分類器");
}

#[test]
fn a_text_is_wrapped_at_blanks_and_none_of_it_is_lost() {
    let text = "分類器 of everything that averyveryverylongword says,  twice";
    for columns in 1..70 {
        let lines = wrapped(text, columns);
        assert_eq!(lines.join(" "), text);
        assert!(
            lines.iter().all(|line| width(line) <= columns || !line.contains(' ')),
            "{columns}: {lines:?}"
        );
    }
    assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
    assert_eq!(wrapped("", 7), [""]);
}

#[test]
fn colours_do_not_count_as_columns_and_are_always_ended() {
    let line = line(&[(Style::Failure, "0123456789"), (Style::Bold, "abcdefghij")]);
    let shown = line.render(Terminal { colors: true, width: Some(15) });
    assert_eq!(shown, "\u{1b}[31m0123456789\u{1b}[0m\u{1b}[1mabcd\u{1b}[0m…");
}

#[test]
fn what_others_wrote_can_not_steer_the_terminal() {
    let mut line = line(&[(Style::Plain, "a\u{1b}[2Jb\nc\u{202e}d")]);
    line.push_padded(Style::Plain, "\r", 4);
    line.push(Style::Plain, "|");
    assert_eq!(line.render(PLAIN), "a\\u{1b}[2Jb\\nc\\u{202e}d\\r  |");
}

#[test]
fn padding_reaches_the_column_and_the_end_of_a_line_has_none() {
    let mut line = Line::default();
    line.push_padded(Style::Plain, "分", 4);
    line.push_padded(Style::Plain, "b", 5);
    assert_eq!(line.render(PLAIN), "分  b");
}

#[test]
fn names_that_are_seen_together_have_colours_that_differ() {
    let colors = |names: &[&str]| {
        let mut colors: Vec<_> = names.iter().map(|name| Style::of_name(name).code()).collect();
        colors.sort_unstable();
        colors.dedup();
        colors.len()
    };
    assert_eq!(colors(&["up", "redis", "gateway"]), 3);
    assert_eq!(colors(&["model-events", "inference-events", "platform-events", "training-events"]), 4);
}
