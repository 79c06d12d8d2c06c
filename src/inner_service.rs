//! How users reach the service inside of one of ours.

/// Gives a service of a layer `get_ref`, `get_mut` and `into_inner`, for its field `inner`.
macro_rules! inner_service {
    ($service:ident<S $(, $other:ident)?>) => {
        impl<S $(, $other)?> $service<S $(, $other)?> {
            /// The service inside.
            pub fn get_ref(&self) -> &S {
                &self.inner
            }

            /// The service inside, to change.
            pub fn get_mut(&mut self) -> &mut S {
                &mut self.inner
            }

            /// Takes the service out.
            pub fn into_inner(self) -> S {
                self.inner
            }
        }
    };
}

pub(crate) use inner_service;
