//! The file of rules: a strict subset of YAML, one `NAME: RULE` on a line.
//!
//! Names and rules are plain, 'single' or "double" quoted; `#` begins a comment. There is nothing else: no
//! nesting, no lists, no text over several lines. What this reads, every YAML reader reads alike.

use std::fmt;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number, from 1.
    pub number: usize,
    /// The rule's name.
    pub name: String,
    /// The rule.
    pub text: String,
}

/// What is wrong with a file of rules, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong and what to do.
    pub why: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.line, self.why)
    }
}

/// Characters that begin something else than plain text (YAML 1.2, section 5.3).
const INDICATORS: &str = "-?:,[]{}#&*!|>'\"%@`";

/// Reads the lines of a file.
///
/// # Errors
/// The first line that is not of the form above.
pub fn read(text: &str) -> Result<Vec<Line>, Mistake> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines: Vec<Line> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let wrong = |why: String| Mistake { line: index + 1, why };
        if blank(line) || (line.trim_end() == "---" && lines.is_empty()) {
            continue;
        }
        if let Some(c) = line.chars().find(|c| c.is_control()) {
            return Err(wrong(format!("the character {c:?} is not allowed; indent and align with spaces")));
        }
        if line.starts_with(' ') {
            return Err(wrong("a rule begins at the start of its line; nothing is nested".to_owned()));
        }
        let (name, rest) = scalar(line, true).map_err(wrong)?;
        let rest = rest
            .strip_prefix(':')
            .filter(|rest| rest.is_empty() || rest.starts_with(' '))
            .ok_or_else(|| wrong("this is not of the form NAME: RULE".to_owned()))?;
        let (value, rest) = match rest.trim_start() {
            nothing if nothing.is_empty() || nothing.starts_with('#') => {
                return Err(wrong(format!(
                    "'{name}' has no rule; write \"@\" for everybody, \"!\" for nobody"
                )));
            }
            some => scalar(some, false).map_err(wrong)?,
        };
        if !(blank(rest) && (rest.is_empty() || rest.starts_with(' '))) {
            return Err(wrong(format!("'{}' behind the rule", rest.trim())));
        }
        if let Some(first) = lines.iter().find(|first| first.name == name) {
            return Err(wrong(format!("'{name}' stands in line {} already", first.number)));
        }
        lines.push(Line { number: index + 1, name, text: value });
    }
    Ok(lines)
}

/// Whether there is nothing, or nothing but a comment.
fn blank(text: &str) -> bool {
    let text = text.trim_start_matches(' ');
    text.is_empty() || text.starts_with('#')
}

/// A quoted or plain text at the start of `text`, and what follows it.
fn scalar(text: &str, is_name: bool) -> Result<(String, &str), String> {
    match text.chars().next() {
        Some('\'') => single(&text[1..]),
        Some('"') => double(&text[1..]),
        Some(c) if INDICATORS.contains(c) => Err(format!("what begins with {c} stands in quotes")),
        _ => plain(text, is_name),
    }
}

/// Plain text ends before `: ` or ` #`; a name must end so, a rule must not hold the first.
fn plain(text: &str, is_name: bool) -> Result<(String, &str), String> {
    let comment = text.find(" #").unwrap_or(text.len());
    let (content, after) = text.split_at(comment);
    let colon = match content.find(": ") {
        None if content.ends_with(':') => Some(content.len() - 1),
        found => found,
    };
    match (colon, is_name) {
        (Some(at), true) => Ok((text[..at].trim_end().to_owned(), &text[at..])),
        (None, true) => Err("this is not of the form NAME: RULE".to_owned()),
        (Some(_), false) => Err("a rule with ': ' in it stands in quotes".to_owned()),
        (None, false) => Ok((content.trim_end().to_owned(), after)),
    }
}

/// The rest of a single-quoted text, in which `''` is a quote.
fn single(text: &str) -> Result<(String, &str), String> {
    let mut content = String::new();
    let mut rest = text;
    loop {
        let (piece, after) = rest.split_once('\'').ok_or("a ' without its closing '")?;
        content.push_str(piece);
        match after.strip_prefix('\'') {
            Some(more) => {
                content.push('\'');
                rest = more;
            }
            None => return Ok((content, after)),
        }
    }
}

/// The rest of a double-quoted text, in which only `\"` and `\\` are escapes.
fn double(text: &str) -> Result<(String, &str), String> {
    let mut content = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((content, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, c @ ('"' | '\\'))) => content.push(c),
                _ => return Err("behind \\ stands \" or \\".to_owned()),
            },
            c => content.push(c),
        }
    }
    Err("a \" without its closing \"".to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_rules_quotes_and_comments() {
        let text = "---\n# who may\n\n\"os_compute_api:servers:delete\": \"role:member and user_id:%(user_id)s\"  # own\n\
                    'it''s': '!'\r\nos_compute_api:servers:show:   role:reader or role:auditor # more\n  # end\n";
        let read: Vec<_> =
            read(text).expect("legal").into_iter().map(|l| (l.number, l.name, l.text)).collect();
        let expected = [
            (4, "os_compute_api:servers:delete", "role:member and user_id:%(user_id)s"),
            (5, "it's", "!"),
            (6, "os_compute_api:servers:show", "role:reader or role:auditor"),
        ];
        assert_eq!(read[..3], expected.map(|(number, name, text)| (number, name.into(), text.into())));
        assert_eq!(read.len(), 3);
    }

    #[test]
    fn everything_else_is_refused_with_its_line() {
        for (text, why) in [
            ("a", "NAME: RULE"),
            ("a:b", "NAME: RULE"),
            ("\"a\"", "NAME: RULE"),
            ("\"a\":b", "NAME: RULE"),
            ("\"a\" : b", "NAME: RULE"),
            ("a:", "has no rule"),
            ("a:   # none", "has no rule"),
            ("a: @", "stands in quotes"),
            ("a: !", "stands in quotes"),
            ("a: [[role:x]]", "stands in quotes"),
            ("a: |", "stands in quotes"),
            ("{\"a\": \"b\"}", "stands in quotes"),
            ("- a: b", "stands in quotes"),
            ("a: b: c", "': '"),
            (" a: b", "start of its line"),
            ("a:\tb", "not allowed"),
            ("a: 'b", "closing"),
            ("a: \"b", "closing"),
            ("a: \"\\n\"", "behind \\"),
            ("a: 'b' c", "behind the rule"),
            ("a: 'b'# c", "behind the rule"),
            ("x: y\na: b\nx: c", "line 2"),
            ("a: b\n---", "stands in quotes"),
        ] {
            let mistake = read(&format!("# first\n{text}")).expect_err(text);
            assert!(mistake.why.contains(why), "{text}: {mistake}");
            assert_eq!(mistake.line, 1 + text.lines().count(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "(\\PC|\\n|\\t|\\\\|'|\"|#|: ){0,80}") {
            let _ = read(&text);
        }

        #[test]
        fn quoted_texts_come_back(name in "[^\\pC]{0,12}", text in "[^\\pC]{0,12}") {
            let single = format!("'{}': '{}'", name.replace('\'', "''"), text.replace('\'', "''"));
            let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
            let double = format!("\"{}\": \"{}\" # c", escape(&name), escape(&text));
            for line in [single, double] {
                let line = read(&line).expect("legal").remove(0);
                prop_assert_eq!((&line.name, &line.text), (&name, &text));
            }
        }
    }
}
