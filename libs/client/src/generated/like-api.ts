// Made by npm run contracts from the OpenAPI document.
export interface paths {
    "/api/likes": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Like a product */
        post: operations["addLike"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/products/{productId}/likes/{userId}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Whether a user likes a product, from the write side: read your own write */
        get: operations["readLike"];
        /** Like a product, named by the path */
        put: operations["putLike"];
        post?: never;
        /** Take a like back */
        delete: operations["removeLike"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/likes/batch": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Up to 500 likes, each answered for by itself
         * @description The body may have 64 KB. A 503 means that nothing was done, or that it is not known of any.
         */
        post: operations["addLikes"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        /** @description What went wrong (RFC 9457). */
        Problem: {
            /**
             * Format: uri
             * @description Permanent: decide by it.
             */
            type: string;
            title: string;
            status: number;
            /** @description For people; may change. */
            detail: string;
            /**
             * Format: uri
             * @description Of a 5xx: the request's id in the log.
             */
            instance?: string;
            /** @description Where the fault lies, one entry per field. */
            errors?: {
                field: string;
                message: string;
            }[];
        };
    };
    responses: never;
    parameters: never;
    requestBodies: never;
    headers: never;
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    addLike: {
        parameters: {
            query?: never;
            header?: {
                /** @description The same request with the same key within 24 hours has the same answer, and one effect. */
                "idempotency-key"?: string;
                /**
                 * @description W3C Trace Context: the caller's trace, which goes on with the event. Left out where it is none.
                 * @example 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
                 */
                traceparent?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "userId": 1,
                 *       "productId": 100
                 *     }
                 */
                "application/json": {
                    /**
                     * @description The user.
                     * @example 1
                     */
                    userId?: number;
                    /**
                     * @description The product.
                     * @example 100
                     */
                    productId: number;
                };
            };
        };
        responses: {
            /** @description It was liked already: nothing was written. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /**
                         * @description The user.
                         * @example 1
                         */
                        userId: number;
                        /**
                         * @description The product.
                         * @example 100
                         */
                        productId: number;
                        /** @description How it is now. */
                        liked: boolean;
                        /** @description Whether this request changed it. */
                        changed: boolean;
                    };
                };
            };
            /** @description Liked now: the like and its event are committed. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /**
                         * @description The user.
                         * @example 1
                         */
                        userId: number;
                        /**
                         * @description The product.
                         * @example 100
                         */
                        productId: number;
                        /** @description How it is now. */
                        liked: boolean;
                        /** @description Whether this request changed it. */
                        changed: boolean;
                    };
                };
            };
            /** @description Parameters invalid · Body invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 400;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:params-invalid" | "urn:likewise:problem:body-invalid";
                    };
                };
            };
            /** @description Not authenticated */
            401: {
                headers: {
                    /** @description How to say who asks (RFC 6750). */
                    "www-authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 401;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:unauthenticated";
                    };
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 403;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:forbidden";
                    };
                };
            };
            /** @description Idempotency key in flight */
            409: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 409;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:idempotency-key-in-flight";
                    };
                };
            };
            /** @description Body too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 413;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:body-too-large";
                    };
                };
            };
            /** @description Media type unsupported */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 415;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:media-type-unsupported";
                    };
                };
            };
            /** @description Idempotency key reused */
            422: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 422;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:idempotency-key-reused";
                    };
                };
            };
            /** @description Too many requests */
            429: {
                headers: {
                    /** @description Seconds to wait before the request is sent again. */
                    "retry-after"?: number;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 429;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:too-many-requests";
                    };
                };
            };
            /** @description Internal error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 500;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:internal-error";
                    };
                };
            };
            /** @description Identity unavailable · Overloaded · Database unavailable · Database busy · Timed out */
            503: {
                headers: {
                    /** @description Seconds to wait before the request is sent again. */
                    "retry-after"?: number;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 503;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:identity-unavailable" | "urn:likewise:problem:overloaded" | "urn:likewise:problem:database-unavailable" | "urn:likewise:problem:database-busy" | "urn:likewise:problem:timed-out";
                    };
                };
            };
        };
    };
    readLike: {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The product.
                 * @example 100
                 */
                productId: number;
                /**
                 * @description The user.
                 * @example 1
                 */
                userId: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Whether the like is there now. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /**
                         * @description The user.
                         * @example 1
                         */
                        userId: number;
                        /**
                         * @description The product.
                         * @example 100
                         */
                        productId: number;
                        liked: boolean;
                    };
                };
            };
            /** @description Parameters invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 400;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:params-invalid";
                    };
                };
            };
            /** @description Not authenticated */
            401: {
                headers: {
                    /** @description How to say who asks (RFC 6750). */
                    "www-authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 401;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:unauthenticated";
                    };
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 403;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:forbidden";
                    };
                };
            };
            /** @description Not found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 404;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:not-found";
                    };
                };
            };
            /** @description Too many requests */
            429: {
                headers: {
                    /** @description Seconds to wait before the request is sent again. */
                    "retry-after"?: number;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 429;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:too-many-requests";
                    };
                };
            };
            /** @description Internal error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 500;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:internal-error";
                    };
                };
            };
            /** @description Identity unavailable · Overloaded · Database unavailable · Database busy · Timed out */
            503: {
                headers: {
                    /** @description Seconds to wait before the request is sent again. */
                    "retry-after"?: number;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 503;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:identity-unavailable" | "urn:likewise:problem:overloaded" | "urn:likewise:problem:database-unavailable" | "urn:likewise:problem:database-busy" | "urn:likewise:problem:timed-out";
                    };
                };
            };
        };
    };
    putLike: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description W3C Trace Context: the caller's trace, which goes on with the event. Left out where it is none.
                 * @example 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
                 */
                traceparent?: string;
            };
            path: {
                /**
                 * @description The product.
                 * @example 100
                 */
                productId: number;
                /**
                 * @description The user.
                 * @example 1
                 */
                userId: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description It was liked already: nothing was written. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /**
                         * @description The user.
                         * @example 1
                         */
                        userId: number;
                        /**
                         * @description The product.
                         * @example 100
                         */
                        productId: number;
                        /** @description How it is now. */
                        liked: boolean;
                        /** @description Whether this request changed it. */
                        changed: boolean;
                    };
                };
            };
            /** @description Liked now: the like and its event are committed. */
            201: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /**
                         * @description The user.
                         * @example 1
                         */
                        userId: number;
                        /**
                         * @description The product.
                         * @example 100
                         */
                        productId: number;
                        /** @description How it is now. */
                        liked: boolean;
                        /** @description Whether this request changed it. */
                        changed: boolean;
                    };
                };
            };
            /** @description Parameters invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 400;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:params-invalid";
                    };
                };
            };
            /** @description Not authenticated */
            401: {
                headers: {
                    /** @description How to say who asks (RFC 6750). */
                    "www-authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 401;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:unauthenticated";
                    };
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 403;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:forbidden";
                    };
                };
            };
            /** @description Not found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 404;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:not-found";
                    };
                };
            };
            /** @description Body too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 413;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:body-too-large";
                    };
                };
            };
            /** @description Media type unsupported */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 415;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:media-type-unsupported";
                    };
                };
            };
            /** @description Too many requests */
            429: {
                headers: {
                    /** @description Seconds to wait before the request is sent again. */
                    "retry-after"?: number;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 429;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:too-many-requests";
                    };
                };
            };
            /** @description Internal error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 500;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:internal-error";
                    };
                };
            };
            /** @description Identity unavailable · Overloaded · Database unavailable · Database busy · Timed out */
            503: {
                headers: {
                    /** @description Seconds to wait before the request is sent again. */
                    "retry-after"?: number;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 503;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:identity-unavailable" | "urn:likewise:problem:overloaded" | "urn:likewise:problem:database-unavailable" | "urn:likewise:problem:database-busy" | "urn:likewise:problem:timed-out";
                    };
                };
            };
        };
    };
    removeLike: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description W3C Trace Context: the caller's trace, which goes on with the event. Left out where it is none.
                 * @example 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
                 */
                traceparent?: string;
            };
            path: {
                /**
                 * @description The product.
                 * @example 100
                 */
                productId: number;
                /**
                 * @description The user.
                 * @example 1
                 */
                userId: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Not liked now; `changed` tells whether it was. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /**
                         * @description The user.
                         * @example 1
                         */
                        userId: number;
                        /**
                         * @description The product.
                         * @example 100
                         */
                        productId: number;
                        /** @description How it is now. */
                        liked: boolean;
                        /** @description Whether this request changed it. */
                        changed: boolean;
                    };
                };
            };
            /** @description Parameters invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 400;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:params-invalid";
                    };
                };
            };
            /** @description Not authenticated */
            401: {
                headers: {
                    /** @description How to say who asks (RFC 6750). */
                    "www-authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 401;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:unauthenticated";
                    };
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 403;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:forbidden";
                    };
                };
            };
            /** @description Not found */
            404: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 404;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:not-found";
                    };
                };
            };
            /** @description Body too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 413;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:body-too-large";
                    };
                };
            };
            /** @description Media type unsupported */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 415;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:media-type-unsupported";
                    };
                };
            };
            /** @description Too many requests */
            429: {
                headers: {
                    /** @description Seconds to wait before the request is sent again. */
                    "retry-after"?: number;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 429;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:too-many-requests";
                    };
                };
            };
            /** @description Internal error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 500;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:internal-error";
                    };
                };
            };
            /** @description Identity unavailable · Overloaded · Database unavailable · Database busy · Timed out */
            503: {
                headers: {
                    /** @description Seconds to wait before the request is sent again. */
                    "retry-after"?: number;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 503;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:identity-unavailable" | "urn:likewise:problem:overloaded" | "urn:likewise:problem:database-unavailable" | "urn:likewise:problem:database-busy" | "urn:likewise:problem:timed-out";
                    };
                };
            };
        };
    };
    addLikes: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description W3C Trace Context: the caller's trace, which goes on with the event. Left out where it is none.
                 * @example 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01
                 */
                traceparent?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "items": [
                 *         {
                 *           "userId": 1,
                 *           "productId": 100
                 *         },
                 *         {
                 *           "userId": 2,
                 *           "productId": 100
                 *         }
                 *       ]
                 *     }
                 */
                "application/json": {
                    items: {
                        /**
                         * @description The user.
                         * @example 1
                         */
                        userId?: number;
                        /**
                         * @description The product.
                         * @example 100
                         */
                        productId: number;
                    }[];
                };
            };
        };
        responses: {
            /** @description What became of each like, in the order sent. */
            200: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        items: {
                            /**
                             * @description The user.
                             * @example 1
                             */
                            userId: number;
                            /**
                             * @description The product.
                             * @example 100
                             */
                            productId: number;
                            /** @description As the answer to this like alone: 201, 200, 500 or 503. */
                            status: number;
                            changed?: boolean;
                            problem?: {
                                type: string;
                                title: string;
                                detail: string;
                            };
                        }[];
                    };
                };
            };
            /** @description Body invalid */
            400: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 400;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:body-invalid";
                    };
                };
            };
            /** @description Not authenticated */
            401: {
                headers: {
                    /** @description How to say who asks (RFC 6750). */
                    "www-authenticate"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 401;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:unauthenticated";
                    };
                };
            };
            /** @description Forbidden */
            403: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 403;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:forbidden";
                    };
                };
            };
            /** @description Body too large */
            413: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 413;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:body-too-large";
                    };
                };
            };
            /** @description Media type unsupported */
            415: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 415;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:media-type-unsupported";
                    };
                };
            };
            /** @description Too many requests */
            429: {
                headers: {
                    /** @description Seconds to wait before the request is sent again. */
                    "retry-after"?: number;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 429;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:too-many-requests";
                    };
                };
            };
            /** @description Internal error */
            500: {
                headers: {
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 500;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:internal-error";
                    };
                };
            };
            /** @description Identity unavailable · Overloaded · Database unavailable · Database busy · Timed out */
            503: {
                headers: {
                    /** @description Seconds to wait before the request is sent again. */
                    "retry-after"?: number;
                    [name: string]: unknown;
                };
                content: {
                    "application/problem+json": components["schemas"]["Problem"] & {
                        /** @constant */
                        status?: 503;
                        /** @enum {unknown} */
                        type?: "urn:likewise:problem:identity-unavailable" | "urn:likewise:problem:overloaded" | "urn:likewise:problem:database-unavailable" | "urn:likewise:problem:database-busy" | "urn:likewise:problem:timed-out";
                    };
                };
            };
        };
    };
}
