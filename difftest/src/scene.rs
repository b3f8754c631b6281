//! The situations in which a ruleset is tried.

use std::borrow::Cow;

use anyhow::Result;
use ipt2bpf_codegen::module::Hook;
use ipt2bpf_parser::ruleset::{NfHook, Ruleset};

use crate::compare::{Report, Subject, Trial};
use crate::constants::Constants;
use crate::frame::{Direction, Frame};
use crate::host::{Host, Routing};
use crate::mirror;
use crate::netfilter::{Netfilter, Path};
use crate::netns;

/// A host, its routes, and the ruleset as it is loaded there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scene {
    /// Every destination is the host's own: all packets meet INPUT, except IPv4 fragments.
    EndHost,
    /// Packets meet INPUT or FORWARD, as the kernel's routing decides.
    Router,
    /// [`mirror::into_forward`]: all packets, IPv4 fragments among them, meet INPUT's rules in FORWARD.
    Mirror,
    /// The host sends the packets: they meet OUTPUT and POSTROUTING.
    Sender,
    /// [`mirror::into_output`]: the host sends the packets, and they meet INPUT's rules in OUTPUT.
    SenderMirror,
}

impl Scene {
    /// All of them.
    pub const ALL: [Scene; 5] = [
        Scene::EndHost,
        Scene::Router,
        Scene::Mirror,
        Scene::Sender,
        Scene::SenderMirror,
    ];

    /// Where a program sees the packets of this scene.
    pub fn hooks(self) -> &'static [Hook] {
        match self {
            Scene::EndHost => &[Hook::CgroupIngress, Hook::Xdp],
            Scene::Router | Scene::Mirror => &[Hook::Xdp],
            Scene::Sender | Scene::SenderMirror => &[Hook::CgroupEgress],
        }
    }

    /// Which way they go.
    pub fn direction(self) -> Direction {
        match self {
            Scene::EndHost | Scene::Router | Scene::Mirror => Direction::Received,
            Scene::Sender | Scene::SenderMirror => Direction::Sent,
        }
    }

    /// The chains that they can meet.
    pub fn chains(self) -> &'static [NfHook] {
        use NfHook::{Forward, Input, Output, Postrouting, Prerouting};
        match self {
            Scene::EndHost => &[Prerouting, Input],
            Scene::Router => &[Prerouting, Input, Forward, Postrouting],
            Scene::Mirror => &[Prerouting, Forward, Postrouting],
            Scene::Sender | Scene::SenderMirror => &[Output, Postrouting],
        }
    }

    /// What becomes of a ruleset here.
    pub fn stage(self, ruleset: &Ruleset) -> Cow<'_, Ruleset> {
        match self {
            Scene::EndHost | Scene::Router | Scene::Sender => Cow::Borrowed(ruleset),
            Scene::Mirror => Cow::Owned(mirror::into_forward(ruleset)),
            Scene::SenderMirror => Cow::Owned(mirror::into_output(ruleset)),
        }
    }

    /// Tries a save text, of a ruleset that is [staged](Scene::stage) already, in a namespace of its own.
    ///
    /// `subjects` is called in that namespace when the host stands and no rules are loaded. Interfaces
    /// and routes are the ones that `bpf_fib_lookup` would find.
    ///
    /// # Errors
    /// When the host cannot be made, netfilter refuses the text, or a subject cannot be asked.
    pub fn run<'s>(
        self,
        name: &str,
        text: &str,
        constants: &Constants,
        frames: &[Frame],
        subjects: impl FnOnce() -> Result<Vec<Box<dyn Subject + 's>>> + Send,
    ) -> Result<Report> {
        let (routing, paths) = match self {
            Scene::EndHost => (Routing::AllLocal, &[Path::Input][..]),
            Scene::Router => {
                let routing = Routing::Router {
                    local: constants.local.clone(),
                    routes: constants.routes.clone(),
                };
                (routing, &[Path::Input, Path::Forward][..])
            }
            Scene::Mirror => (Routing::transit(), &[Path::Forward][..]),
            Scene::Sender | Scene::SenderMirror => (Routing::OnLink, &[Path::Output][..]),
        };
        netns::isolated(|| {
            let host = Host::new(&constants.interfaces, &routing)?;
            let netfilter = Netfilter::new(&host, constants.family)?;
            let mut subjects = subjects()?;
            let mut subjects: Vec<&mut dyn Subject> = subjects
                .iter_mut()
                .map(|subject| &mut **subject as _)
                .collect();
            Trial {
                name,
                text,
                frames,
                paths,
            }
            .run(&netfilter, &mut subjects)
        })
    }
}
