//! Splitting a command line into words as a POSIX shell does, without expansions.

/// The words of `text`: blanks separate, `'…'` keeps all, `"…"` keeps all but `\"` `\\` `\$` `` \` ``, a
/// backslash elsewhere keeps the next character. Says what is wrong with an unfinished one.
pub fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' | '\r' => words.extend(word.take()),
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or("a ' is not closed")? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match rest.next().ok_or("a \" is not closed")? {
                        '"' => break,
                        '\\' => match rest.next().ok_or("a \" is not closed")? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            '\n' => {}
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(rest.next().ok_or("it ends with a \\")?),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_a_shell() {
        let cases: [(&str, &[&str]); 8] = [
            ("", &[]),
            ("  sleep   60 ", &["sleep", "60"]),
            (r#"sh -c 'echo "a b"; sleep 1'"#, &["sh", "-c", r#"echo "a b"; sleep 1"#]),
            (r#"echo "a 'b' \" \\ \n""#, &["echo", r#"a 'b' " \ \n"#]),
            (r"a\ b c", &["a b", "c"]),
            ("'' \"\"", &["", ""]),
            ("a''b\"c\"", &["abc"]),
            ("$HOME `x` #y", &["$HOME", "`x`", "#y"]),
        ];
        for (text, wanted) in cases {
            assert_eq!(words(text).expect(text), wanted, "{text}");
        }
        for bad in ["'", "a \"b", "a\\", "\"\\"] {
            assert!(words(bad).is_err(), "{bad}");
        }
    }
}
