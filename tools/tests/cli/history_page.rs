//! The page on history: its commands are run, and give what it says.

use super::support::*;

const PAGE: &str = include_str!("../../../docs/history.md");

/// The blocks of a kind of a page.
fn blocks(page: &'static str, kind: &str) -> Vec<&'static str> {
    let start = format!("{kind}\n");
    page.split("\n```").filter_map(|part| part.strip_prefix(start.as_str())).collect()
}

/// The words of a command line: quotes as a shell takes them, single and double.
fn words(line: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let (mut quote, mut characters) = (None, line.chars());
    while let Some(c) = characters.next() {
        let word = words.last_mut().unwrap();
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => quote = Some(c),
            (None, ' ') => words.push(String::new()),
            (Some('"'), '\\') => word.extend(characters.next()),
            _ => word.push(c),
        }
    }
    words
}

/// Every command of the page with what it is said to print, which errors are part of.
fn commands(page: &'static str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    for line in blocks(page, "console").into_iter().flat_map(str::lines) {
        match (line.strip_prefix("$ "), commands.last_mut()) {
            (Some(command), _) => commands.push((command.to_string(), String::new())),
            (None, Some((_, output))) => output.push_str(&format!("{line}\n")),
            (None, None) => panic!("output before a command: {line}"),
        }
    }
    commands
}

#[test]
fn the_page_on_history_tells_what_its_commands_print() {
    let scratch = Scratch::new();
    scratch.write("history.jsonl", format!("{}\n", blocks(PAGE, "jsonl")[0]));
    scratch.write("euro.csv", format!("{}\n", blocks(PAGE, "csv")[0]));
    let commands = commands(PAGE);
    assert!(commands.len() > 15, "{} commands", commands.len());
    for (command, expected) in commands {
        let words = words(command.strip_prefix("asof ").unwrap());
        if !cfg!(feature = "sql") && words[0] == "find" {
            continue;
        }
        let ran = scratch.run(&words.iter().map(String::as_str).collect::<Vec<_>>());
        let notes = ran.stderr.lines().filter(|line| !is_note(line));
        let found = notes.fold(ran.text().to_string(), |text, line| format!("{text}{line}\n"));
        assert_eq!(found, expected, "$ {command}");
    }
}

/// What an expression became, and what was made, is said beside the output.
fn is_note(line: &str) -> bool {
    line.starts_with("made the database ") || (!line.starts_with("asof: ") && line.contains(" is version "))
}
