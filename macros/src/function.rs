//! The function below the attribute.

use std::mem;

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::parse::{Parse, ParseStream};
use syn::spanned::Spanned;
use syn::{
    AttrStyle, Attribute, Error, FnArg, PatType, Result, ReturnType, Signature, Visibility, braced,
};

use crate::arguments::Arguments;

pub(crate) struct Function {
    attributes: Vec<Attribute>,
    visibility: Visibility,
    /// Without the parameter.
    signature: Signature,
    /// The parameter for the guard.
    guard: Option<PatType>,
    /// With its braces.
    body: TokenStream,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let mut attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let mut signature: Signature = input.parse()?;
        let content;
        let braces = braced!(content in input);
        // A block inside a function may not have them.
        let inner = content.call(Attribute::parse_inner)?;
        attributes.extend(inner.into_iter().map(|it| Attribute { style: AttrStyle::Outer, ..it }));
        // What is in there is for the compiler to read.
        let content: TokenStream = content.parse()?;
        let mut body = TokenStream::new();
        braces.surround(&mut body, |body| body.extend(content));
        let guard = parameter(&mut signature)?;
        Ok(Self { attributes, visibility, signature, guard, body })
    }
}

/// Takes the parameter, if there is one and all is right.
fn parameter(signature: &mut Signature) -> Result<Option<PatType>> {
    if signature.asyncness.is_none() {
        let text = "the test has to be an `async fn`";
        return Err(Error::new(signature.fn_token.span, text));
    }
    if !signature.generics.params.is_empty() {
        return Err(Error::new(signature.generics.span(), "a test cannot be generic"));
    }
    let mut inputs = mem::take(&mut signature.inputs).into_iter();
    let first = inputs.next();
    if let Some(more) = inputs.next() {
        let text = "a test has one parameter at most, the `&NoStalls` that watches it";
        return Err(Error::new(more.span(), text));
    }
    match first {
        None => Ok(None),
        Some(FnArg::Typed(guard)) => Ok(Some(guard)),
        Some(own) => Err(Error::new(own.span(), "a test is a function, not a method")),
    }
}

impl Function {
    /// The same function as a `#[tokio::test]` of which the library watches the body.
    pub(crate) fn watched(&self, arguments: &Arguments) -> TokenStream {
        let Self { attributes, visibility, signature, guard, body } = self;
        let Arguments { threshold_ms, tokio, for_tokio } = arguments;
        let is_meant = attributes.iter().any(|it| it.path().is_ident("should_panic"));
        let parameter = match guard {
            Some(guard) => quote!(#guard),
            None => quote!(_: &::tower_stall::testing::NoStalls),
        };
        let output = match &signature.output {
            ReturnType::Default => quote!(()),
            ReturnType::Type(_, output) => quote!(#output),
        };
        let name = &signature.ident;
        // As a call of the macro's, at the place of the name.
        let place = Span::call_site().located_at(name.span());
        let call = quote_spanned! {place=>
            ::tower_stall::testing::__attribute::run(
                ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
                #threshold_ms,
                #is_meant,
                async |#parameter| -> #output #body,
            ).await
        };
        quote! {
            #[#tokio::test(#for_tokio)]
            #(#attributes)*
            #visibility #signature { #call }
        }
    }
}
