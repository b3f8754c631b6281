//! The situations in which a ruleset is tried.

use std::borrow::Cow;

use anyhow::Result;

use crate::compare::{Report, Subject, Trial};
use crate::constants::Constants;
use crate::frame::Frame;
use crate::host::{Host, Routing};
use crate::mirror::mirror;
use crate::netfilter::{Netfilter, Path};
use crate::netns;

/// A host, its routes, and the ruleset as it is loaded there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Every destination is the host's own: all packets meet INPUT, except IPv4 fragments.
    EndHost,
    /// Packets meet INPUT or FORWARD, as the kernel's routing decides.
    Router,
    /// [`mirror`]: all packets, IPv4 fragments among them, meet INPUT's rules in FORWARD.
    Mirror,
}

impl Scene {
    /// All of them.
    pub const ALL: [Scene; 3] = [Scene::EndHost, Scene::Router, Scene::Mirror];

    /// Tries a save text in a namespace of its own.
    ///
    /// `subjects` is called in that namespace when the host stands and no rules are loaded; it gets
    /// the text that netfilter will load. Interfaces and routes are the ones that
    /// `bpf_fib_lookup` would find.
    ///
    /// # Errors
    /// When the host cannot be made, netfilter refuses the text, or a subject cannot be asked.
    pub fn run<'s>(
        self,
        name: &str,
        text: &str,
        constants: &Constants,
        frames: &[Frame],
        subjects: impl FnOnce(&str) -> Result<Vec<Box<dyn Subject + 's>>> + Send,
    ) -> Result<Report> {
        let (routing, paths, text) = match self {
            Scene::EndHost => (Routing::AllLocal, &[Path::Input][..], Cow::from(text)),
            Scene::Router => {
                let routing = Routing::Router {
                    local: constants.local.clone(),
                    routes: constants.routes.clone(),
                };
                (routing, &[Path::Input, Path::Forward][..], Cow::from(text))
            }
            Scene::Mirror => {
                let mirrored = Cow::from(mirror(text));
                (Routing::transit(), &[Path::Forward][..], mirrored)
            }
        };
        netns::isolated(|| {
            let host = Host::new(&constants.interfaces, &routing)?;
            let netfilter = Netfilter::new(&host, constants.family)?;
            let mut subjects = subjects(&text)?;
            let mut subjects: Vec<&mut dyn Subject> = subjects
                .iter_mut()
                .map(|subject| &mut **subject as _)
                .collect();
            Trial {
                name: &format!("{name} ({self:?})"),
                text: &text,
                frames,
                paths,
            }
            .run(&netfilter, &mut subjects)
        })
    }
}
