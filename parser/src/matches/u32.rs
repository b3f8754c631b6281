//! `-m u32`: words of the packet, computed and compared (libxt_u32, xt_u32.c).

use std::fmt;
use std::ops::RangeInclusive;

use nom::branch::alt;
use nom::bytes::complete::tag;
use nom::character::complete::multispace0;
use nom::combinator::{all_consuming, map_opt, opt, value};
use nom::multi::{many0, separated_list1};
use nom::sequence::{delimited, preceded, terminated};
use nom::{IResult, Parser};
use serde::Serialize;

use crate::diagnostic::Diagnostic;
use crate::extension::{Arguments, Extension, Opt, OptionSpec, Problem};
use crate::listing::Listing;
use crate::print::Line;
use crate::ruleset::Negatable;
use crate::value::number;

/// The `u32` match: all tests hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct U32 {
    /// `--u32`, 1 to 10 tests.
    pub tests: Negatable<Vec<Test>>,
}

/// `location = values`
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Test {
    /// Where the first word lies, in bytes from the IP header. Words are 32 bits, big endian.
    pub offset: u32,
    /// What is done with the word, from left to right, at most 9 steps.
    pub steps: Vec<Step>,
    /// The result lies in one of these, 1 to 10. A range that runs backwards holds nothing.
    pub values: Vec<RangeInclusive<u32>>,
}

/// One operator with its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// `&`: bits are masked.
    And(u32),
    /// `<<`: shifted left, 0 to 31.
    ShiftLeft(u32),
    /// `>>`: shifted right, 0 to 31.
    ShiftRight(u32),
    /// `@`: the result is added to the place in the packet, and a word is read this many bytes
    /// behind it.
    Move(u32),
}

/// `XT_U32_MAXSIZE` is 10, and a location counts as one of its numbers.
const STEPS_LIMIT: usize = 9;
const VALUES_LIMIT: usize = 10;
const TESTS_LIMIT: usize = 10;

static TESTS: Opt<Vec<Test>> = Opt::new(&["u32"], |value| tests(value.word(0))).invertible();

impl Extension for U32 {
    const NAME: &'static str = "u32";
    const OPTIONS: &'static [&'static OptionSpec] = &[&TESTS.spec];

    fn build(arguments: &mut Arguments<'_>) -> Result<Self, Diagnostic> {
        let tests = arguments.need(&TESTS)?;
        Ok(Self { tests })
    }

    fn print(&self, line: &mut Line) {
        let tests: Vec<String> = self.tests.value.value.iter().map(Test::to_string).collect();
        line.option(self.tests.negated, "--u32");
        line.word(format_args!("\"{}\"", tests.join("&&")));
    }

    fn list(&self, line: &mut Listing<'_>) {
        line.word("u32");
        if self.tests.negated {
            line.word("!");
        }
        let tests: Vec<String> = self.tests.value.value.iter().map(Test::to_string).collect();
        line.word(format_args!("\"{}\"", tests.join("&&")));
    }
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#x}", self.offset)?;
        for step in &self.steps {
            match step {
                Step::And(number) => write!(f, "&{number:#x}")?,
                Step::ShiftLeft(number) => write!(f, "<<{number:#x}")?,
                Step::ShiftRight(number) => write!(f, ">>{number:#x}")?,
                Step::Move(number) => write!(f, "@{number:#x}")?,
            }
        }
        for (index, range) in self.values.iter().enumerate() {
            f.write_str(if index == 0 { "=" } else { "," })?;
            write!(f, "{:#x}", range.start())?;
            if range.start() != range.end() {
                write!(f, ":{:#x}", range.end())?;
            }
        }
        Ok(())
    }
}

fn tests(word: &[u8]) -> Result<Vec<Test>, Problem> {
    let parsed: IResult<&[u8], Vec<Test>> =
        all_consuming(terminated(separated_list1(token(b"&&"), test), multispace0)).parse(word);
    let Ok((_, tests)) = parsed else {
        return Err(Problem::new("this is no u32 test")
            .with_help("write numbers as in \"6&0xFF=1&&0>>22&0x3C@0>>24=8,13:14\""));
    };
    let too_many = |what: &str, limit: usize| {
        Err(Problem::new(format!("more than {limit} {what}"))
            .with_help("use several u32 matches or rules"))
    };
    if tests.len() > TESTS_LIMIT {
        return too_many("tests in one match", TESTS_LIMIT);
    }
    for test in &tests {
        if test.steps.len() > STEPS_LIMIT {
            return too_many("operators in one test", STEPS_LIMIT);
        }
        if test.values.len() > VALUES_LIMIT {
            return too_many("values in one test", VALUES_LIMIT);
        }
        for step in &test.steps {
            if let Step::ShiftLeft(32..) | Step::ShiftRight(32..) = step {
                return Err(Problem::new("the kernel shifts by 0 to 31 bits"));
            }
        }
    }
    Ok(tests)
}

fn test(input: &[u8]) -> IResult<&[u8], Test> {
    let location = (word, many0(step));
    let values = separated_list1(token(b","), range);
    let (rest, ((offset, steps), _, values)) = (location, token(b"="), values).parse(input)?;
    let test = Test {
        offset,
        steps,
        values,
    };
    Ok((rest, test))
}

fn step(input: &[u8]) -> IResult<&[u8], Step> {
    type Make = fn(u32) -> Step;
    let operator = alt((
        value(Step::And as Make, token(b"&")),
        value(Step::ShiftLeft as Make, token(b"<<")),
        value(Step::ShiftRight as Make, token(b">>")),
        value(Step::Move as Make, token(b"@")),
    ));
    let (rest, (make, number)) = (operator, word).parse(input)?;
    Ok((rest, make(number)))
}

fn range(input: &[u8]) -> IResult<&[u8], RangeInclusive<u32>> {
    let (rest, (low, high)) = (word, opt(preceded(token(b":"), word))).parse(input)?;
    Ok((rest, low..=high.unwrap_or(low)))
}

/// A number of 32 bits between blanks.
fn word(input: &[u8]) -> IResult<&[u8], u32> {
    map_opt(number, |number| u32::try_from(number).ok()).parse(input)
}

/// A sign between blanks.
fn token<'a>(
    sign: &'static [u8],
) -> impl Parser<&'a [u8], Output = &'a [u8], Error = nom::error::Error<&'a [u8]>> {
    delimited(multispace0, tag(sign), multispace0)
}
