// Made by npm run contracts from the OpenAPI document.
export interface paths {
    "/api/products/{productId}/metrics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Like count of a product, now or as of a moment */
        get: operations["readMetrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/metrics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Like counts of up to 100 products */
        get: operations["readManyMetrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/products/{productId}/history": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Likes and unlikes of a product in steps of time */
        get: operations["readHistory"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/products/trending": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Products that gain most likes */
        get: operations["readTrending"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/api/products/{productId}/metrics/stream": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Like count of a product, live */
        get: operations["streamMetrics"];
        put?: never;
        post?: never;
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
    readMetrics: {
        parameters: {
            query?: {
                /** @description The count of the events before then; not ahead of now, no leap second. */
                asOf?: string;
            };
            header?: {
                /** @description The etag of an answer that the client has. */
                "if-none-match"?: string;
            };
            path: {
                /**
                 * @description The product.
                 * @example 100
                 */
                productId: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The like count of a product. */
            200: {
                headers: {
                    /** @description Changes with the answer, countedThrough left aside. For If-None-Match. */
                    etag?: string;
                    /** @description Keep it, and ask whether it still holds. */
                    "cache-control"?: string;
                    /** @description The same as countedThrough; absent where that is null. */
                    "counted-through"?: string;
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "productId": 100,
                     *       "likeCount": 42,
                     *       "updatedAt": "2026-11-23T05:45:14.108Z",
                     *       "countedThrough": "2026-11-23T05:45:27.761Z"
                     *     }
                     */
                    "application/json": {
                        /**
                         * @description The product.
                         * @example 100
                         */
                        productId: number;
                        /** @description Below zero for a moment where an unlike overtakes: never clamped. */
                        likeCount: number;
                        /** @description Of its last change; null: nobody ever liked it. Not where asOf is asked. */
                        updatedAt?: string | null;
                        /**
                         * Format: date-time
                         * @description The moment asked for, or the nearest one before it that is known exactly.
                         */
                        asOf?: string;
                        /** @description What the answer is made of: the longest bucket in it. */
                        resolution?: "minute" | "hour" | "day";
                        /** @description Every event that Kafka held at this time is counted. Null: not known. What has not reached Kafka yet is not spoken of. */
                        countedThrough: string | null;
                    };
                };
            };
            /** @description What the client has still holds; counted-through is of now. */
            304: {
                headers: {
                    /** @description Changes with the answer, countedThrough left aside. For If-None-Match. */
                    etag?: string;
                    /** @description Keep it, and ask whether it still holds. */
                    "cache-control"?: string;
                    /** @description The same as countedThrough; absent where that is null. */
                    "counted-through"?: string;
                    [name: string]: unknown;
                };
                content?: never;
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
            /** @description Overloaded · Database unavailable · Database busy · Timed out */
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
                        type?: "urn:likewise:problem:overloaded" | "urn:likewise:problem:database-unavailable" | "urn:likewise:problem:database-busy" | "urn:likewise:problem:timed-out";
                    };
                };
            };
        };
    };
    readManyMetrics: {
        parameters: {
            query: {
                /**
                 * @description Product ids, separated by commas.
                 * @example [
                 *       100,
                 *       7
                 *     ]
                 */
                ids: number[];
            };
            header?: {
                /** @description The etag of an answer that the client has. */
                "if-none-match"?: string;
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The like counts, in the order asked. countedThrough of the whole is the earliest of theirs. */
            200: {
                headers: {
                    /** @description Changes with the answer, countedThrough left aside. For If-None-Match. */
                    etag?: string;
                    /** @description Keep it, and ask whether it still holds. */
                    "cache-control"?: string;
                    /** @description The same as countedThrough; absent where that is null. */
                    "counted-through"?: string;
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "countedThrough": "2026-11-23T05:45:27.761Z",
                     *       "products": [
                     *         {
                     *           "productId": 100,
                     *           "likeCount": 42,
                     *           "updatedAt": "2026-11-23T05:45:14.108Z",
                     *           "countedThrough": "2026-11-23T05:45:27.761Z"
                     *         },
                     *         {
                     *           "productId": 7,
                     *           "likeCount": 0,
                     *           "updatedAt": null,
                     *           "countedThrough": "2026-11-23T05:45:27.761Z"
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": {
                        /** @description Every event that Kafka held at this time is counted. Null: not known. What has not reached Kafka yet is not spoken of. */
                        countedThrough: string | null;
                        products: {
                            /**
                             * @description The product.
                             * @example 100
                             */
                            productId: number;
                            likeCount: number;
                            updatedAt: string | null;
                            /** @description Every event that Kafka held at this time is counted. Null: not known. What has not reached Kafka yet is not spoken of. */
                            countedThrough: string | null;
                        }[];
                    };
                };
            };
            /** @description What the client has still holds; counted-through is of now. */
            304: {
                headers: {
                    /** @description Changes with the answer, countedThrough left aside. For If-None-Match. */
                    etag?: string;
                    /** @description Keep it, and ask whether it still holds. */
                    "cache-control"?: string;
                    /** @description The same as countedThrough; absent where that is null. */
                    "counted-through"?: string;
                    [name: string]: unknown;
                };
                content?: never;
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
            /** @description Overloaded · Database unavailable · Database busy · Timed out */
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
                        type?: "urn:likewise:problem:overloaded" | "urn:likewise:problem:database-unavailable" | "urn:likewise:problem:database-busy" | "urn:likewise:problem:timed-out";
                    };
                };
            };
        };
    };
    readHistory: {
        parameters: {
            query: {
                /**
                 * @description The beginning; rounded down to a whole step.
                 * @example 2026-11-23T03:00:00Z
                 */
                from: string;
                /**
                 * @description The end, later than from; rounded up to a whole step.
                 * @example 2026-11-23T04:00:00Z
                 */
                to: string;
                /** @description How long a point is, as long as the data is known that finely; at most 1,500 points. */
                step?: "1m" | "5m" | "1h" | "1d";
            };
            header?: {
                /** @description The etag of an answer that the client has. */
                "if-none-match"?: string;
            };
            path: {
                /**
                 * @description The product.
                 * @example 100
                 */
                productId: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A point for every step, zeros where nothing happened. */
            200: {
                headers: {
                    /** @description Changes with the answer, countedThrough left aside. For If-None-Match. */
                    etag?: string;
                    /** @description Keep it, and ask whether it still holds. */
                    "cache-control"?: string;
                    /** @description The same as countedThrough; absent where that is null. */
                    "counted-through"?: string;
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "productId": 100,
                     *       "from": "2026-11-23T03:00:00.000Z",
                     *       "to": "2026-11-23T04:00:00.000Z",
                     *       "step": "1h",
                     *       "resolution": "minute",
                     *       "countedThrough": "2026-11-23T05:45:27.761Z",
                     *       "points": [
                     *         {
                     *           "start": "2026-11-23T03:00:00.000Z",
                     *           "added": 40,
                     *           "removed": 0,
                     *           "likeCount": 40
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": {
                        /**
                         * @description The product.
                         * @example 100
                         */
                        productId: number;
                        /**
                         * Format: date-time
                         * @description The beginning of the first point.
                         */
                        from: string;
                        /**
                         * Format: date-time
                         * @description The end of the last one.
                         */
                        to: string;
                        /** @description As asked, or longer where the data is only there in hours or days. */
                        step: string;
                        /** @description What the answer is made of: the longest bucket in it. */
                        resolution: "minute" | "hour" | "day";
                        /** @description Every event that Kafka held at this time is counted. Null: not known. What has not reached Kafka yet is not spoken of. */
                        countedThrough: string | null;
                        points: {
                            /** Format: date-time */
                            start: string;
                            added: number;
                            removed: number;
                            /** @description At the end of the point. */
                            likeCount: number;
                        }[];
                    };
                };
            };
            /** @description What the client has still holds; counted-through is of now. */
            304: {
                headers: {
                    /** @description Changes with the answer, countedThrough left aside. For If-None-Match. */
                    etag?: string;
                    /** @description Keep it, and ask whether it still holds. */
                    "cache-control"?: string;
                    /** @description The same as countedThrough; absent where that is null. */
                    "counted-through"?: string;
                    [name: string]: unknown;
                };
                content?: never;
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
            /** @description Overloaded · Database unavailable · Database busy · Timed out */
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
                        type?: "urn:likewise:problem:overloaded" | "urn:likewise:problem:database-unavailable" | "urn:likewise:problem:database-busy" | "urn:likewise:problem:timed-out";
                    };
                };
            };
        };
    };
    readTrending: {
        parameters: {
            query?: {
                /** @description Its whole minutes and the running one. */
                window?: "5m" | "1h" | "24h";
                /** @description Products at most. */
                limit?: number;
            };
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Products that gained, the largest score first, then by product id. */
            200: {
                headers: {
                    /** @description How long all callers share this answer. */
                    "cache-control"?: string;
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "window": "1h",
                     *       "from": "2026-11-23T04:45:00.000Z",
                     *       "to": "2026-11-23T05:45:27.761Z",
                     *       "countedThrough": "2026-11-23T05:45:27.761Z",
                     *       "products": [
                     *         {
                     *           "productId": 7,
                     *           "score": 5,
                     *           "added": 5,
                     *           "removed": 0
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": {
                        window: string;
                        /**
                         * Format: date-time
                         * @description Where the window begins.
                         */
                        from: string;
                        /**
                         * Format: date-time
                         * @description Where it ends: now, by the clock of the database.
                         */
                        to: string;
                        /** @description Every event that Kafka held at this time is counted. Null: not known. What has not reached Kafka yet is not spoken of. */
                        countedThrough: string | null;
                        products: {
                            /**
                             * @description The product.
                             * @example 100
                             */
                            productId: number;
                            /** @description Likes minus unlikes in the window. */
                            score: number;
                            added: number;
                            removed: number;
                        }[];
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
            /** @description Overloaded · Database unavailable · Database busy · Timed out */
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
                        type?: "urn:likewise:problem:overloaded" | "urn:likewise:problem:database-unavailable" | "urn:likewise:problem:database-busy" | "urn:likewise:problem:timed-out";
                    };
                };
            };
        };
    };
    streamMetrics: {
        parameters: {
            query?: never;
            header?: {
                /** @description The id of the last event that the client has seen. */
                "last-event-id"?: string;
            };
            path: {
                /**
                 * @description The product.
                 * @example 100
                 */
                productId: number;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Server-sent events: `metrics`, whose data is the like count of a product as …/metrics tells it, now and at each change; `stale`, once, where the database is away; comments as heartbeats. */
            200: {
                headers: {
                    /** @description no-store */
                    "cache-control"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "text/event-stream": string;
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
            /** @description Too many streams · Overloaded · Database unavailable · Database busy · Timed out */
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
                        type?: "urn:likewise:problem:too-many-streams" | "urn:likewise:problem:overloaded" | "urn:likewise:problem:database-unavailable" | "urn:likewise:problem:database-busy" | "urn:likewise:problem:timed-out";
                    };
                };
            };
        };
    };
}
