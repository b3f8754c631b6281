//! What many trials showed together.

use std::collections::BTreeMap;
use std::fmt;

use crate::compare::{Hits, Report};
use crate::scene::Scene;
use crate::trials::Outcome;

/// The reports of all scenes that were tried.
#[derive(Default)]
pub struct Tally {
    reports: Vec<(Scene, Report)>,
}

impl Tally {
    /// Takes up what became of a ruleset.
    pub fn add(&mut self, outcomes: Vec<Outcome>) {
        let tried = outcomes.into_iter().filter_map(|outcome| match outcome {
            Outcome::Tried(scene, report) => Some((scene, report)),
            Outcome::Skipped(_) => None,
        });
        self.reports.extend(tried);
    }

    /// How many rulesets were tried in a scene.
    pub fn rulesets(&self, scene: Scene) -> usize {
        self.reports(scene).count()
    }

    /// The reports that show a difference.
    pub fn differing(&self) -> impl Iterator<Item = &Report> {
        let reports = self.reports.iter().map(|(_, report)| report);
        reports.filter(|report| !report.is_clean())
    }

    /// How many rules some packet hit, in all scenes.
    pub fn hits(&self) -> Hits {
        let reports = self.reports.iter().map(|(_, report)| report);
        reports.fold(Hits::default(), |sum, report| Hits {
            rules: sum.rules + report.rules,
            hit: sum.hit + report.rules_hit,
        })
    }

    /// How many rules with each extension some packet hit, in all scenes.
    pub fn extensions(&self) -> BTreeMap<&str, Hits> {
        let mut all: BTreeMap<&str, Hits> = BTreeMap::new();
        for (name, hits) in self
            .reports
            .iter()
            .flat_map(|(_, report)| &report.extensions)
        {
            let sum = all.entry(name).or_default();
            sum.rules += hits.rules;
            sum.hit += hits.hit;
        }
        all
    }

    fn reports(&self, scene: Scene) -> impl Iterator<Item = &Report> {
        let reports = self.reports.iter();
        reports
            .filter(move |(tried, _)| *tried == scene)
            .map(|(_, report)| report)
    }
}

/// One line for each scene.
impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for scene in Scene::ALL {
            let sum = |part: fn(&Report) -> usize| self.reports(scene).map(part).sum::<usize>();
            writeln!(
                f,
                "{scene:?}: {} rulesets, {} frames: {} accepted, {} dropped, {} excepted, {} on no path \
                 to compare; {} of {} rules hit; {} rulesets differ",
                self.rulesets(scene),
                sum(|report| report.frames),
                sum(|report| report.accepted),
                sum(|report| report.dropped),
                sum(|report| report.excepted),
                sum(|report| report.unseen
                    + report.refused
                    + report.unrouted
                    + report.held
                    + report.elsewhere),
                sum(|report| report.rules_hit),
                sum(|report| report.rules),
                sum(|report| usize::from(!report.is_clean())),
            )?;
        }
        Ok(())
    }
}
