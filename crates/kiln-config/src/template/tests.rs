//! Tables of templates and what Go's engine with sprig gives for them, and of what is refused.

use proptest::prelude::*;

use super::{Error, FUNCTIONS, REFUSED, Value, Values, check, render};
use crate::diagnostic::Diagnostics;
use crate::source::{SourceId, Span};

/// Facts of a machine for the rows.
fn values() -> Values {
    let facts = r#"{
        "node": {"hostname": "edge-7", "timezone": "UTC"},
        "os": {"name": "Kiln", "version": "1.2"},
        "cpu": {"threads": 8, "load": 0.5},
        "memory": {"bytes": 16777216},
        "network": [{"name": "eth0", "mac": "52:54"}, {"name": "eth1", "mac": "52:55"}],
        "tags": ["b", "a", "", "b"],
        "empty": [], "none": null, "yes": true, "no": false, "zero": 0, "text": "",
        "labels": {"zone": "a", "arm": "b"},
        "Random": "x7k2"
    }"#;
    let node = crate::json::document(SourceId(0), facts).unwrap();
    let mut values = Values::facts(Value::from_node(&node));
    values.insert("MachineID", "0123456789abcdef");
    values
}

fn rows(rows: &[(&str, &str)]) {
    let values = values();
    for (template, expected) in rows {
        assert_eq!(render(template, &values).as_deref(), Ok(*expected), "{template}");
        let mut out = Diagnostics::default();
        check(template, Span::new(SourceId(0), 0, template.len()), &mut out);
        assert!(out.list().is_empty(), "{template}: {:?}", out.list());
    }
}

#[test]
fn text_trim_markers_and_comments() {
    rows(&[
        ("", ""),
        ("plain } text {", "plain } text {"),
        ("a{{ 1 }}b", "a1b"),
        ("a {{- 1 -}} b", "a1b"),
        ("a \n\t{{- 1 }} b", "a1 b"),
        ("a {{ 1 -}} \n b", "a 1b"),
        ("a {{-3}} b", "a -3 b"),
        ("{{3 -}} b", "3b"),
        ("a{{/* no */}}b", "ab"),
        ("a {{- /* no */ -}} b", "ab"),
        ("a {{/* no\nlines */ -}} b", "a b"),
        ("{{ \"}}\" }}", "}}"),
        ("{{ `{{` }}", "{{"),
        ("{{\n1\n}}", "1"),
        ("ä{{ \"ö\" }}ü", "äöü"),
    ]);
}

#[test]
fn literals() {
    rows(&[
        ("{{ 7 }}", "7"),
        ("{{ 0600 }}", "384"),
        ("{{ 0x1f }}", "31"),
        ("{{ 1_000 }}", "1000"),
        ("{{ 'a' }}", "97"),
        ("{{ '\\n' }}", "10"),
        ("{{ 1.5 }}", "1.5"),
        ("{{ 1e3 }}", "1000"),
        ("{{ 1000000.0 }}", "1e+06"),
        ("{{ 0.00001 }}", "1e-05"),
        ("{{ true }} {{ false }}", "true false"),
        ("{{ \"a\\tb\\\"\\u00e4\\x41\\101\" }}", "a\tb\"äAA"),
        ("{{ `a\\n` }}", "a\\n"),
        ("{{ print nil }}", "<nil>"),
    ]);
}

#[test]
fn fields_and_variables() {
    rows(&[
        ("{{ .Values.node.hostname }}", "edge-7"),
        ("{{.MachineID}}", "0123456789abcdef"),
        ("{{ $.MachineID }}", "0123456789abcdef"),
        ("{{ .Values.memory.bytes }}", "16777216"),
        ("{{ .Values.cpu.load }}", "0.5"),
        ("{{ .Values.absent }}", "<no value>"),
        ("{{ .Values.none }}", "<no value>"),
        ("{{ .Values.tags }}", "[b a  b]"),
        ("{{ .Values.labels }}", "map[arm:b zone:a]"),
        ("{{ (index .Values.network 1).name }}", "eth1"),
        ("{{ $x := 1 }}{{ $x }}", "1"),
        ("{{ $x := 1 }}{{ $x = 2 }}{{ $x }}", "2"),
        ("{{ $x := .Values.os }}{{ $x.name }}", "Kiln"),
        ("{{ $x := 1 }}{{ if true }}{{ $x := 2 }}{{ $x }}{{ end }}{{ $x }}", "21"),
        ("{{ $x := 1 }}{{ if true }}{{ $x = 2 }}{{ end }}{{ $x }}", "2"),
        ("{{ with .Values.os }}{{ .name }} {{ $.MachineID }}{{ end }}", "Kiln 0123456789abcdef"),
        ("{{ (.Values).os.name }}", "Kiln"),
    ]);
}

#[test]
fn choices() {
    rows(&[
        ("{{ if .Values.yes }}a{{ else }}b{{ end }}", "a"),
        ("{{ if .Values.no }}a{{ else }}b{{ end }}", "b"),
        ("{{ if .Values.absent }}a{{ end }}", ""),
        (
            "{{ if .Values.zero }}a{{ else if .Values.text }}b{{ else if 1 }}c{{ else }}d{{ end }}",
            "c",
        ),
        ("{{ if .Values.empty }}a{{ else if 0.0 }}b{{ else }}d{{ end }}", "d"),
        ("{{ if $x := .Values.os }}{{ $x.name }}{{ end }}", "Kiln"),
        ("{{ if $x := .Values.zero }}a{{ else }}{{ $x }}{{ end }}", "0"),
        ("{{ if .Values.labels }}a{{ end }}", "a"),
        ("{{ with .Values.none }}a{{ else }}b{{ end }}", "b"),
        ("{{ with $x := 3 }}{{ . }}{{ $x }}{{ end }}", "33"),
        ("{{ with .Values.none }}a{{ else with .Values.os }}{{ .name }}{{ end }}", "Kiln"),
        ("{{ if eq .Values.os.name \"Kiln\" \"Oven\" }}a{{ end }}", "a"),
        ("{{- if true }}\n  a\n{{- end }}", "\n  a"),
    ]);
}

#[test]
fn loops() {
    rows(&[
        ("{{ range .Values.network }}{{ .name }};{{ end }}", "eth0;eth1;"),
        ("{{ range $i, $n := .Values.network }}{{ $i }}={{ $n.name }} {{ end }}", "0=eth0 1=eth1 "),
        ("{{ range $n := .Values.network }}{{ $n.mac }} {{ end }}", "52:54 52:55 "),
        ("{{ range $k, $v := .Values.labels }}{{ $k }}={{ $v }} {{ end }}", "arm=b zone=a "),
        ("{{ range .Values.empty }}a{{ else }}none{{ end }}", "none"),
        ("{{ range .Values.absent }}a{{ else }}none{{ end }}", "none"),
        ("{{ range 3 }}{{ . }}{{ end }}", "012"),
        ("{{ range $i := 3 }}{{ $i }}{{ end }}", "012"),
        (
            "{{ range until 5 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}",
            "02",
        ),
        ("{{ $last := \"\" }}{{ range .Values.tags }}{{ $last = . }}{{ end }}{{ $last }}", "b"),
        (
            "{{ range $i, $_ := .Values.network }}{{ if $i }}, {{ end }}{{ .name }}{{ end }}",
            "eth0, eth1",
        ),
        ("{{ range .Values.network }}{{ range until 2 }}{{ . }}{{ end }};{{ end }}", "01;01;"),
    ]);
}

#[test]
fn pipelines() {
    rows(&[
        ("{{ \"a\" | upper }}", "A"),
        ("{{ \"a\" | upper | quote }}", "\"A\""),
        ("{{ .Values.absent | default \"d\" }}", "d"),
        ("{{ printf \"%s-%d\" (upper \"a\") (add 1 2) }}", "A-3"),
        ("{{ 3 | printf \"%d%d\" 1 }}", "13"),
        ("{{ len (list 1 2 3) }}", "3"),
        ("{{ list | len }}", "0"),
        ("{{ $x := \"a\" | upper }}{{ $x }}", "A"),
        ("{{ (\"a\" | upper) | lower }}", "a"),
        ("{{ len list }}", "0"),
    ]);
}

#[test]
fn comparisons_and_logic() {
    rows(&[
        ("{{ eq 1 1 }}", "true"),
        ("{{ eq 1 2 3 1 }}", "true"),
        ("{{ eq \"a\" \"b\" }}", "false"),
        ("{{ eq 1 1.0 }}", "true"),
        ("{{ eq .Values.absent \"x\" }}", "false"),
        ("{{ eq .Values.absent nil }}", "true"),
        ("{{ ne 1 2 }}", "true"),
        ("{{ lt 1 2 }}{{ lt \"a\" \"b\" }}{{ lt 2 1.5 }}", "truetruefalse"),
        ("{{ le 2 2 }}", "true"),
        ("{{ gt 3 2 }}", "true"),
        ("{{ ge 1 2 }}", "false"),
        ("{{ and true 0 \"x\" }}", "0"),
        ("{{ and 1 \"x\" }}", "x"),
        ("{{ and false (fail \"never\") }}", "false"),
        ("{{ or 0 \"\" \"x\" }}", "x"),
        ("{{ or 0 \"\" }}", ""),
        ("{{ or 1 (fail \"never\") }}", "1"),
        ("{{ not 0 }}", "true"),
        ("{{ not \"a\" }}", "false"),
        ("{{ default \"d\" \"\" }}{{ default \"d\" 0 }}{{ default \"d\" \"x\" }}", "ddx"),
        ("{{ default \"d\" false }}", "d"),
        ("{{ coalesce 0 \"\" \"x\" \"y\" }}", "x"),
        ("{{ coalesce 0 }}", "<no value>"),
        ("{{ empty \"\" }}{{ empty 1 }}", "truefalse"),
        ("{{ all 1 \"a\" }}{{ all 1 0 }}", "truefalse"),
        ("{{ any 0 \"a\" }}{{ any 0 \"\" }}", "truefalse"),
        ("{{ ternary \"a\" \"b\" true }}{{ false | ternary \"a\" \"b\" }}", "ab"),
        (
            "{{ kindOf 1 }} {{ kindOf \"a\" }} {{ kindOf list }} {{ kindOf dict }} {{ kindOf 1.5 }} {{ kindOf true }}",
            "int string slice map float64 bool",
        ),
        ("{{ kindIs \"string\" \"a\" }}", "true"),
    ]);
}

#[test]
fn texts() {
    rows(&[
        ("{{ print \"a\" 1 2 \"b\" 3 }}", "a1 2b3"),
        ("{{ println \"a\" 1 }}", "a 1\n"),
        ("{{ toString 12 }}{{ toString true }}", "12true"),
        ("{{ quote \"a\\\"b\\n\" 1 }}", "\"a\\\"b\\n\" \"1\""),
        ("{{ quote nil }}|{{ quote \"ä\" }}", "|\"ä\""),
        ("{{ squote \"a\" 1 }}", "'a' '1'"),
        ("{{ cat \"a\" 1 nil \"b\" }}", "a 1 b"),
        ("{{ lower \"ÄB\" }}{{ upper \"äb\" }}", "äbÄB"),
        ("{{ title \"hello wide-world\" }}", "Hello Wide-World"),
        ("{{ untitle \"Hello Wide-World\" }}", "hello wide-World"),
        ("{{ title \"don't\" }}", "Don'T"),
        ("{{ trim \"  a b \\n\" }}", "a b"),
        ("{{ trimAll \"$\" \"$5.00$\" }}", "5.00"),
        ("{{ trimPrefix \"-\" \"-hello\" }}{{ trimPrefix \"x\" \"-hello\" }}", "hello-hello"),
        ("{{ trimSuffix \"-\" \"hello-\" }}", "hello"),
        ("{{ nospace \" h e l l o \" }}", "hello"),
        ("{{ contains \"cat\" \"catch\" }}", "true"),
        ("{{ hasPrefix \"cat\" \"catch\" }}{{ hasSuffix \"cat\" \"catch\" }}", "truefalse"),
        ("{{ \"I Am\" | replace \" \" \"-\" }}", "I-Am"),
        ("{{ repeat 3 \"ab\" }}|{{ repeat 0 \"ab\" }}", "ababab|"),
        ("{{ substr 0 5 \"hello world\" }}", "hello"),
        ("{{ substr 6 -1 \"hello world\" }}", "world"),
        ("{{ substr -1 4 \"hello\" }}", "hell"),
        ("{{ trunc 5 \"hello world\" }}", "hello"),
        ("{{ trunc -5 \"hello world\" }}", "world"),
        ("{{ trunc 50 \"hello\" }}", "hello"),
        ("{{ indent 2 \"a\\nb\" }}", "  a\n  b"),
        ("{{ nindent 2 \"a\\nb\" }}", "\n  a\n  b"),
        ("{{ plural \"one\" \"many\" 1 }}{{ 2 | plural \"one\" \"many\" }}", "onemany"),
        ("{{ join \"-\" .Values.tags }}", "b-a--b"),
        ("{{ join \",\" (list 1 nil true) }}", "1,true"),
        ("{{ join \",\" \"a\" }}", "a"),
        ("{{ b64enc \"kiln\" }}", "a2lsbg=="),
        ("{{ b64dec \"a2lsbg==\" }}", "kiln"),
        (
            "{{ sha256sum \"\" }}",
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        ),
        ("{{ sha512sum \"abc\" | trunc 16 }}", "ddaf35a193617aba"),
    ]);
}

#[test]
fn printf_verbs() {
    rows(&[
        ("{{ printf \"100%%\" }}", "100%"),
        ("{{ printf \"%d|%5d|%-5d|%05d|%+d\" 7 7 7 7 7 }}", "7|    7|7    |00007|+7"),
        ("{{ printf \"%05d\" -7 }}", "-0007"),
        ("{{ printf \"%x %X %#x %o %b\" 255 255 255 8 5 }}", "ff FF 0xff 10 101"),
        ("{{ printf \"%c %U %q\" 65 65 65 }}", "A U+0041 'A'"),
        ("{{ printf \"%s|%5s|%-5s|%.2s\" \"abc\" \"abc\" \"abc\" \"abc\" }}", "abc|  abc|abc  |ab"),
        ("{{ printf \"%q\" \"a\\\"b\" }}", "\"a\\\"b\""),
        ("{{ printf \"%x\" \"hi\" }}", "6869"),
        ("{{ printf \"%t\" true }}", "true"),
        (
            "{{ printf \"%f %.2f %8.3f|%-8.1f|\" 1.5 1.256 3.14159 2.0 }}",
            "1.500000 1.26    3.142|2.0     |",
        ),
        ("{{ printf \"%e %g\" 123456.789 0.000001 }}", "1.234568e+05 1e-06"),
        ("{{ printf \"%.3g %.3g\" 1234.5678 0.5 }}", "1.23e+03 0.5"),
        ("{{ printf \"%v %v %v %v\" 1 \"a\" true nil }}", "1 a true <nil>"),
        ("{{ printf \"%v %v\" (list 1 \"a\") (dict \"k\" 1) }}", "[1 a] map[k:1]"),
        ("{{ printf \"%q\" (list \"a\" \"b\") }}", "[\"a\" \"b\"]"),
        ("{{ printf \"%02d\" (list 1 2) }}", "[01 02]"),
        ("{{ printf \"%T %T %T\" 1 \"a\" list }}", "int string []interface {}"),
        ("{{ printf \"%08.3f\" -3.14159 }}", "-003.142"),
        ("{{ printf \"% d\" 5 }}", " 5"),
        ("{{ printf \"%s\" .Values.tags }}", "[b a  b]"),
    ]);
}

#[test]
fn numbers() {
    rows(&[
        ("{{ int \"12\" }}{{ int 3.9 }}{{ int \"x\" }}{{ int true }}", "12301"),
        ("{{ int64 \"0x10\" }}", "16"),
        ("{{ atoi \"42\" }}{{ atoi \"4x\" }}", "420"),
        ("{{ float64 \"1.5\" }}{{ float64 2 }}", "1.52"),
        ("{{ add 1 2 3 }}", "6"),
        ("{{ add \"2\" 3.7 }}", "5"),
        ("{{ add1 4 }}", "5"),
        ("{{ sub 5 7 }}", "-2"),
        ("{{ mul 2 3 4 }}", "24"),
        ("{{ div 7 2 }}{{ div -7 2 }}", "3-3"),
        ("{{ mod 7 3 }}{{ mod -7 3 }}", "1-1"),
        ("{{ max 1 5 3 }}{{ min 4 2 3 }}", "52"),
        ("{{ ceil 1.2 }}{{ floor 1.8 }}", "21"),
        ("{{ round 123.555 2 }}", "123.56"),
        ("{{ mul .Values.cpu.threads 2 }}", "16"),
    ]);
}

#[test]
fn lists_and_maps() {
    rows(&[
        ("{{ len \"äb\" }}{{ len .Values.tags }}{{ len .Values.labels }}", "342"),
        ("{{ index .Values.tags 1 }}", "a"),
        ("{{ index .Values.labels \"zone\" }}", "a"),
        ("{{ index .Values.labels \"absent\" }}", "<no value>"),
        ("{{ index .Values.network 0 \"name\" }}", "eth0"),
        ("{{ index \"abc\" 1 }}", "98"),
        ("{{ slice (list 1 2 3) 1 }}{{ slice (list 1 2 3) 0 1 }}", "[2 3][1]"),
        ("{{ slice \"abcd\" 1 3 }}", "bc"),
        ("{{ list 1 \"a\" true }}", "[1 a true]"),
        ("{{ tuple 1 2 }}", "[1 2]"),
        ("{{ first (list 1 2) }}{{ last (list 1 2) }}", "12"),
        ("{{ first list }}", "<no value>"),
        ("{{ rest (list 1 2 3) }}{{ initial (list 1 2 3) }}", "[2 3][1 2]"),
        ("{{ append (list 1) 2 }}{{ prepend (list 1) 2 }}", "[1 2][2 1]"),
        ("{{ concat (list 1) (list 2 3) }}", "[1 2 3]"),
        ("{{ reverse (list 1 2 3) }}", "[3 2 1]"),
        ("{{ uniq .Values.tags }}", "[b a ]"),
        ("{{ without (list 1 2 3) 2 }}", "[1 3]"),
        ("{{ compact .Values.tags }}", "[b a b]"),
        ("{{ has \"a\" .Values.tags }}{{ has 9 (list 1) }}{{ has 1 nil }}", "truefalsefalse"),
        ("{{ sortAlpha .Values.tags }}", "[ a b b]"),
        ("{{ toStrings (list 1 true) }}", "[1 true]"),
        ("{{ (split \".\" \"10.0.0.7\")._0 }}-{{ (split \".\" \"10.0.0.7\")._3 }}", "10-7"),
        ("{{ splitList \",\" \"a,b\" }}{{ splitList \"\" \"ab\" }}", "[a b][a b]"),
        ("{{ until 3 }}{{ until 0 }}{{ until -2 }}", "[0 1 2][][0 -1]"),
        ("{{ untilStep 3 10 3 }}{{ untilStep 5 0 -2 }}{{ untilStep 0 5 -1 }}", "[3 6 9][5 3 1][]"),
        ("{{ dict \"a\" 1 \"b\" 2 }}{{ dict \"a\" }}", "map[a:1 b:2]map[a:]"),
        ("{{ get (dict \"a\" 1) \"a\" }}|{{ get dict \"a\" }}|", "1||"),
        ("{{ hasKey .Values.labels \"zone\" }}{{ hasKey .Values.labels \"x\" }}", "truefalse"),
        ("{{ keys .Values.labels }}{{ values .Values.labels }}", "[arm zone][b a]"),
        (
            "{{ pick .Values.labels \"zone\" \"x\" }}{{ omit .Values.labels \"zone\" }}",
            "map[zone:a]map[arm:b]",
        ),
        ("{{ merge (dict \"a\" 1) (dict \"a\" 2 \"b\" 3) }}", "map[a:1 b:3]"),
        (
            "{{ merge (dict \"m\" (dict \"x\" 1)) (dict \"m\" (dict \"y\" 2)) }}",
            "map[m:map[x:1 y:2]]",
        ),
        ("{{ dig \"os\" \"name\" \"d\" .Values }}{{ dig \"os\" \"x\" \"d\" .Values }}", "Kilnd"),
        (
            "{{ dict \"a\" (list 1 1.5 nil) \"b\" \"<&\\n\" | toJson }}",
            "{\"a\":[1,1.5,null],\"b\":\"\\u003c\\u0026\\n\"}",
        ),
    ]);
}

#[test]
fn faults_of_the_text_have_a_code_and_a_line() {
    for (template, code, message) in [
        ("{{", "template-unclosed", "this `{{` is never closed"),
        ("{{ 1", "template-unclosed", "this `{{` is never closed"),
        ("{{ \"a }}", "template-unclosed", "this \" is never closed"),
        ("{{ `a }}", "template-unclosed", "this ` is never closed"),
        ("{{/* a }}", "template-syntax", "this comment is never closed"),
        ("{{/* a */ 1}}", "template-syntax", "a comment has to stand alone between its braces"),
        ("{{ if true }}a", "template-unclosed", "this `if` is never ended"),
        ("{{ range list }}a{{ else }}", "template-unclosed", "this `range` is never ended"),
        ("{{ end }}", "template-syntax", "this `end` belongs to no block"),
        ("{{ else }}", "template-syntax", "this `else` belongs to no block"),
        (
            "{{ if 1 }}{{ else }}{{ else }}{{ end }}",
            "template-syntax",
            "a second `else` in one `if`",
        ),
        (
            "{{ if 1 }}{{ else range 1 }}{{ end }}",
            "template-syntax",
            "behind `else` of `if` stands nothing or `if`",
        ),
        ("{{ if }}a{{ end }}", "template-empty", "a value is missing in if"),
        ("{{ }}", "template-empty", "a value is missing in an action"),
        ("{{ 1 | }}", "template-empty", "a value is missing in an action"),
        ("{{ () }}", "template-empty", "a value is missing in parentheses"),
        ("{{ (1 }}", "template-unclosed", "this `(` is never closed"),
        ("{{ 1) }}", "template-syntax", "`)` does not belong here in an action"),
        ("{{ 1 2 }}", "template-syntax", "a value that is no function takes no arguments"),
        ("{{ 1 | 2 }}", "template-syntax", "a value that is no function takes no arguments"),
        ("{{ .Values.a 1 }}", "template-syntax", "a value that is no function takes no arguments"),
        ("{{ nil }}", "template-syntax", "`nil` is no command"),
        ("{{ uper \"a\" }}", "template-unknown-function", "there is no function `uper`"),
        ("{{ $x }}", "template-variable", "variable `$x` is not declared here"),
        ("{{ $x = 1 }}", "template-variable", "variable `$x` is not declared here"),
        (
            "{{ if 1 }}{{ $x := 1 }}{{ end }}{{ $x }}",
            "template-variable",
            "variable `$x` is not declared here",
        ),
        (
            "{{ if 1 }}{{ $x := 1 }}{{ else }}{{ $x }}{{ end }}",
            "template-variable",
            "variable `$x` is not declared here",
        ),
        ("{{ $a, $b := list }}", "template-syntax", "only `range` gives values to two variables"),
        ("{{ break }}", "template-syntax", "`break` stands outside of any `range`"),
        (
            "{{ define \"a\" }}{{ end }}",
            "template-refused",
            "`define` is not carried out: templates here have no names",
        ),
        (
            "{{ template \"a\" }}",
            "template-refused",
            "`template` is not carried out: templates here have no names",
        ),
        ("{{ lower }}", "template-arguments", "`lower` takes 1 argument, and gets 0"),
        ("{{ lower \"a\" \"b\" }}", "template-arguments", "`lower` takes 1 argument, and gets 2"),
        ("{{ \"a\" | lower \"b\" }}", "template-arguments", "`lower` takes 1 argument, and gets 2"),
        ("{{ printf \"%s\" lower }}", "template-arguments", "`lower` takes 1 argument, and gets 0"),
        ("{{ slice }}", "template-arguments", "`slice` takes 1 to 3 arguments, and gets 0"),
        ("{{ eq 1 }}", "template-arguments", "`eq` takes at least 2 arguments, and gets 1"),
        ("{{ printf \"a\"\"b\" }}", "template-syntax", "a value does not belong here in an action"),
        ("{{ 08 }}", "template-syntax", "`08` is not a number"),
        ("{{ 'ab' }}", "template-syntax", "single quotes hold one character"),
        ("{{ \"\\q\" }}", "template-syntax", "`\\q` is no escape sequence"),
        ("{{ ; }}", "template-syntax", "`;` means nothing in an action"),
        ("{{ \"a\".b }}", "template-syntax", "`.b` cannot stand behind this value"),
        ("{{ print if }}", "template-syntax", "keyword `if` has to stand first in its action"),
        ("{{ end 1 }}", "template-syntax", "a value does not belong here in `end`"),
    ] {
        let text = format!("one\ntwo {template}");
        let mut out = Diagnostics::default();
        check(&text, Span::new(SourceId(0), 0, text.len()), &mut out);
        let said: Vec<_> = out.list().iter().map(|one| (one.code, one.message.as_str())).collect();
        assert_eq!(said, [(code, message)], "{template}");
        match render(&text, &values()) {
            Err(Error::Syntax { line: 2, .. }) => {}
            other => panic!("{template}: {other:?}"),
        }
    }
}

#[test]
fn faults_of_values_name_the_function() {
    for (template, message) in [
        ("{{ .Values.absent.name }}", "`.Values.absent` has no value, so it has no `.name`"),
        ("{{ .Values.os.name.x }}", "`.Values.os.name` is a text and has no `.x`"),
        ("{{ upper 1 }}", "`upper` wants a text, and gets a whole number"),
        ("{{ upper .Values.absent }}", "`upper` wants a text, and gets nothing"),
        ("{{ eq 1 \"1\" }}", "`eq` cannot compare a whole number with a text"),
        ("{{ eq (list 1) (list 1) }}", "`eq` compares no lists and no maps"),
        ("{{ lt 1 \"a\" }}", "`lt` cannot order a whole number and a text"),
        ("{{ lt true false }}", "`lt` cannot order a boolean and a boolean"),
        ("{{ index (list 1) 1 }}", "`index` gets place 1, and there are 1"),
        ("{{ index (list 1) -1 }}", "`index` gets place -1, and there are 1"),
        ("{{ index nil 1 }}", "`index` wants a list or a map, and gets nothing"),
        ("{{ len 3 }}", "`len` wants a text, a list or a map, and gets a whole number"),
        ("{{ div 1 0 }}", "`div` divides by zero"),
        ("{{ mod 1 0 }}", "`mod` divides by zero"),
        ("{{ add 9223372036854775807 1 }}", "`add` gives a number beyond 64 bits"),
        ("{{ ternary 1 2 3 }}", "`ternary` wants `true` or `false` last, and gets a whole number"),
        ("{{ fail \"no disk\" }}", "`fail` says: no disk"),
        ("{{ range \"abc\" }}{{ end }}", "`range` walks over lists and maps, not over a text"),
        ("{{ printf \"%d\" \"a\" }}", "`printf` cannot show a text by `%d`"),
        ("{{ printf \"%s\" 1 }}", "`printf` cannot show a whole number by `%s`"),
        ("{{ printf \"%d\" }}", "`printf` has no value for `%d` in \"%d\""),
        ("{{ printf \"a\" 1 }}", "`printf` has more values than verbs in \"a\""),
        ("{{ printf \"%y\" 1 }}", "`printf` knows no verb `%y`"),
        ("{{ printf \"%\" }}", "`printf` has a format that ends in the middle of a verb"),
        ("{{ printf \"%*d\" 1 2 }}", "`printf` takes no widths from its values (`*`)"),
        ("{{ b64dec \"?\" }}", "`b64dec` gets what is no base64"),
        ("{{ trunc 1 \"ä\" }}", "`trunc` cuts through a character"),
        ("{{ substr 3 2 \"abcd\" }}", "`substr` cuts bytes 3 to 2 out of 4"),
        ("{{ repeat -1 \"a\" }}", "`repeat` cannot repeat less than 0 times"),
        ("{{ first \"a\" }}", "`first` wants a list, and gets a text"),
    ] {
        let fault = render(&format!("\n{template}"), &values()).unwrap_err();
        assert_eq!(fault.to_string(), format!("template line 2: {message}"), "{template}");
        assert!(fault.hint().is_some());
    }
}

#[test]
fn work_and_output_are_bounded() {
    for template in [
        "{{ repeat 100000000 \"a\" }}",
        "{{ printf \"%99999d\" 1 }}",
        "{{ range 10000000 }}{{ end }}",
        "{{ range 1000000000000 }}a{{ end }}",
        "{{ until 1000000000 }}",
        "{{ untilStep -9223372036854775807 9223372036854775807 1 }}",
        "{{ $x := list 1 }}{{ range 100 }}{{ $x = list $x }}{{ end }}",
        "{{ $x := list 1 }}{{ range 100 }}{{ $x = list $x $x }}{{ end }}",
        "{{ $x := \"aaaaaaaa\" }}{{ range 60 }}{{ $x = print $x $x }}{{ end }}",
        "{{ $x := repeat 4000000 \"a\" }}{{ range 100000 }}{{ $x }}{{ end }}",
        "{{ replace \"\" (repeat 1000000 \"b\") (repeat 1000000 \"a\") }}",
        "{{ indent 1000000 (repeat 1000000 \"\\n\") }}",
        "{{ join (repeat 1000000 \"a\") (until 100000) }}",
        "{{ uniq (until 100000) }}",
        "{{ splitList \"a\" (repeat 4000000 \"a\") }}",
        "{{ splitList \"\" (repeat 4000000 \"a\") }}",
    ] {
        assert!(render(template, &values()).is_err(), "{template}");
    }
    let deep = format!("{}1{}", "{{ if 1 }}".repeat(60), "{{ end }}".repeat(60));
    assert!(matches!(render(&deep, &values()), Err(Error::Syntax { .. })));
    for large in [
        "{{1}}".repeat(150_000),
        "{{/**/}}{{.}}".repeat(150_000),
        format!("{{{{ list{} }}}}", " 1".repeat(300_000)),
        (0..2_000).map(|number| format!("{{{{ $v{number} := 1 }}}}")).collect(),
    ] {
        assert!(matches!(render(&large, &values()), Err(Error::Syntax { .. })));
    }
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(5000), ")".repeat(5000));
    assert!(matches!(render(&deep, &values()), Err(Error::Syntax { .. })));
}

#[test]
fn refused_functions_say_why_and_misspelt_ones_are_suggested() {
    for (name, reason) in REFUSED {
        let mut out = Diagnostics::default();
        let text = format!("{{{{ {name} }}}}");
        check(&text, Span::new(SourceId(0), 0, text.len()), &mut out);
        let said = out.list().first().map(|one| (one.code, one.message.clone()));
        let message = format!("function `{name}` is refused: {reason}");
        assert_eq!(said, Some(("template-refused", message)));
    }
    let mut out = Diagnostics::default();
    check("x {{ trimsuffix }}", Span::new(SourceId(0), 10, 28), &mut out);
    let said = &out.list()[0];
    assert_eq!(said.hint.as_deref(), Some("did you mean `trimSuffix`?"));
    assert_eq!(said.span, Some(Span::new(SourceId(0), 15, 28)));
    let mut out = Diagnostics::default();
    check("x\n{{ upcase }}", Span::new(SourceId(0), 10, 100), &mut out);
    let said = &out.list()[0];
    assert_eq!(said.message, "there is no function `upcase` (line 2 of the template)");
    assert_eq!(said.span, Some(Span::new(SourceId(0), 10, 100)));
}

#[test]
fn every_function_is_known_once_documented_and_in_a_table_above() {
    let tables = include_str!("tests.rs");
    let page = include_str!("../../../../docs/configuration-templates.md");
    let mut seen = std::collections::BTreeSet::new();
    for group in FUNCTIONS {
        assert!(page.contains(&format!("### {}", group.title)), "{}", group.title);
        for function in group.functions {
            let name = function.name;
            assert!(seen.insert(name), "{name} is there twice");
            let row = format!("| `{} {}", name, function.arguments).trim_end().to_owned() + "` | ";
            let line = row + function.documentation + " |";
            assert!(page.contains(&line), "docs/configuration-templates.md lacks\n{line}");
            let called = [format!("{{{{ {name} "), format!("| {name} "), format!("({name} ")];
            assert!(called.iter().any(|call| tables.contains(call)), "{name} has no row");
        }
    }
    for (name, _) in REFUSED {
        assert!(!seen.contains(name), "{name} is refused and carried out");
        assert!(
            page.contains(&format!("`{name}`")),
            "docs/configuration-templates.md lacks {name}"
        );
    }
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,60}") {
        let _ = render(&text, &values());
        let _ = render(&format!("{{{{ {text} }}}}"), &values());
    }

    #[test]
    fn no_mixture_of_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "{{", "}}", "{{-", "-}}", " ", "if", "else", "end", "range", "with", "$x", ":=", "=", "|", "(", ")",
        ".", ".Values", "\"a\"", "`", "'", "1", "-1", "1.5", "nil", "printf", "\"%d%v\"", "list", "dict", "index",
        "substr", "trunc", "round", "until", "untilStep", "slice", "/*", "*/", ",", "break", "continue", "ä", "\n",
    ]), 0..24)) {
        let text = words.join(" ");
        let mut out = Diagnostics::default();
        check(&text, Span::new(SourceId(0), 0, text.len()), &mut out);
        let rendered = render(&text, &values());
        prop_assert_eq!(out.has_errors(), matches!(rendered, Err(Error::Syntax { .. })));
        let _ = render(&words.concat(), &values());
    }
}
